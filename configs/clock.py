"""The time of this machine's clock, in the unit in which everything is stored."""

import time


def now_ms() -> int:
    """Whole milliseconds since the epoch."""
    return int(time.time() * 1000)

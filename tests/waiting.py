"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Until the condition is true; it fails the test when that takes longer.

    The longer it has taken the more seldom it is asked, down to twice a second. To ask is work for the same cores that
    do what is waited for: a start of a stack, a training.
    """
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        assert waited < seconds, "the condition did not come true in time"
        time.sleep(min(max(0.02, waited / 10), 0.5))

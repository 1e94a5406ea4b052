"""What commands that train have in common: they step back for serving, tell how far they are, and fail in a line."""

import sys
import time
from collections.abc import Callable

from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError
from features.redis.errors import StoreError
from jobs.launch.courtesy import step_back

Report = Callable[[int, str], None]
"""Called with percent done and one line."""


def run_training(name: str, train: Callable[[Settings, Report], None], errors: type[Exception]) -> int:
    """The exit code of `train`: 1 with one plain line where it cannot be done.

    Args:
        name: of the command, before that line.
        errors: exceptions, beside those of the data, the settings and the store, whose text is for people.
    """
    started = time.perf_counter()

    def report(percent: int, line: str) -> None:
        print(f"[{percent:3d} %] {time.perf_counter() - started:5.1f} s  {line}", flush=True)

    step_back()
    try:
        train(load_settings(), report)
    except (DataError, SettingsError, StoreError, errors) as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0

"""The clock set back and ahead: of all Python processes of the stack, replicas and autopilot among them, and of the
store. The machine's own clock stays as it is.

Python's clock is shifted by `shifted_clock/sitecustomize.py`, the store's by libfaketime where it is installed.
"""

import itertools
import math
import os
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from benchmarks.faults.stack import BrokenStack, wait_for
from deployments.local.folder_lock import changing
from deployments.local.processes import Record, start, stop
from deployments.local.ray_environment import stack_environment
from deployments.local.stack_parts import parts

HOUR_S = 3600
FOLLOWS_S = 30.0
PAUSE_S = 5.0
MOST_LINES = 20
"""Of the timeline, which a clock that jumps may bring about: alerts that come and go."""
NEAR = 1e-5
SHIM = Path(__file__).parent / "shifted_clock"
NO_FAKETIME = "the store's clock stayed: there is no libfaketime (Debian, Ubuntu: apt install libfaketime)"


def faketime_library() -> Path | None:
    """The library that gives a process another clock; None where it is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def start_with_own_clock(stack: BrokenStack) -> None:
    """Start the stack again with a clock that can be set while it runs."""
    if stack.more:
        return
    set_clock(stack, 0)
    stack.more = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SHIM), os.environ.get("PYTHONPATH")])),
        "SHIFTED_CLOCK_FILE": str(_file(stack, "python")),
    }
    for word in ("down", "up"):
        done = stack.command(word)
        if done.returncode != 0:
            raise TimeoutError(f"`make {word}` with a clock of its own failed: {done.stderr[-500:]}")
    if (library := faketime_library()) is not None:
        _start_store_with(stack, library)


def _start_store_with(stack: BrokenStack, library: Path) -> None:
    """Start the store again, under libfaketime. The supervisor keeps out of it while the folder's lock is held."""
    settings = stack.settings
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(_file(stack, "store")),
        "FAKETIME_CACHE_DURATION": "1",
        # What measures how long something takes goes on, as it does where a machine's clock is set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    record_file = settings.state_dir / "run" / "store.json"
    with changing(settings.state_dir, "make test-faults"):
        before = Record.read(record_file)
        assert before is not None
        stop(before, 30.0, print)
        [part] = [part for part in parts(settings) if part.name == "store"]
        environment = {**stack_environment(settings), **faked}
        record, _ = start("store", part.command, environment, part.address, Path(before.log))
        record.save(record_file)


def set_clock(stack: BrokenStack, offset_s: int) -> None:
    """Let the stack's clock differ from the machine's by this much; the store follows within a second."""
    # In place: processes have mapped the file.
    with os.fdopen(os.open(_file(stack, "python"), os.O_RDWR | os.O_CREAT), "r+b") as file:
        file.write(struct.pack("<d", offset_s))
    _file(stack, "store").write_text(f"{offset_s:+d}\n")


def _file(stack: BrokenStack, of: str) -> Path:
    return stack.settings.state_dir.parent / f"clock-{of}"


def clock_set(offset_s: int) -> Callable[[BrokenStack], str]:
    """Sets the clock, and right again after some seconds, and looks at what depends on times."""

    def break_it(stack: BrokenStack) -> str:
        with httpx.Client(base_url=stack.url, timeout=20, trust_env=False) as http:
            before = _lines(http)
            try:
                set_clock(stack, offset_s)
                wait_for(lambda: abs(_offset_s(http) - offset_s) < HOUR_S / 2, FOLLOWS_S, "the clock of the console")
                wait_for(lambda: _as_documented(http, offset_s), FOLLOWS_S, "the documented answer to a time")
                _check_trending(http)
                time.sleep(PAUSE_S)
            finally:
                set_clock(stack, 0)
            wait_for(lambda: abs(_offset_s(http)) < HOUR_S / 2, FOLLOWS_S, "the right clock again")
            wait_for(lambda: _as_documented(http, 0), FOLLOWS_S, "a time that is taken again")
            _check_trending(http)
            time.sleep(PAUSE_S)
            new = [line for line in _lines(http) if line not in before]
        if len(new) > MOST_LINES or any(line["kind"] == "retraining" for line in new):
            raise TimeoutError(f"the timeline has {len(new)} new lines, such as {new[0]}")
        note = f"{offset_s / HOUR_S:+.0f} h and back"
        return note if faketime_library() is not None else f"{note}; {NO_FAKETIME}"

    return break_it


def _offset_s(http: httpx.Client) -> float:
    try:
        return float(http.get("/health").json()["checked_at_ms"]) / 1000 - time.time()
    except (httpx.HTTPError, ValueError, KeyError):
        return math.inf


def _as_documented(http: httpx.Client, offset_s: int) -> bool:
    """Whether an event of the right time is refused where that lies far ahead of the stack's clock, and else taken."""
    event = {"user_id": "clock", "item_id": 1, "event_type": "click", "timestamp": datetime.now(UTC).isoformat()}
    answer = http.post("/api/v1/events", json=event)
    if offset_s < 0:
        return answer.status_code == 422 and answer.json()["error"]["field"] == "timestamp"
    return answer.status_code == 200


def _check_trending(http: httpx.Client) -> None:
    """Raises TimeoutError unless what is trending comes with weights that are numbers, the greatest first."""
    answer = http.get("/api/v1/trending").json()
    weights = [item["weight"] for item in answer.get("items", [])]
    # Weights that differ in the last digits alone stand in the order of the ids (`configs.decay.STRENGTH_DIGITS`).
    falling = all(first >= second * (1 - NEAR) for first, second in itertools.pairwise(weights))
    if not weights or not all(map(math.isfinite, weights)) or not falling:
        raise TimeoutError(f"what is trending is broken: {str(answer)[:300]}")


def _lines(http: httpx.Client) -> list[dict[str, object]]:
    """The timeline, the newest line first."""
    found: list[dict[str, object]] = http.get("/api/v1/mlops/timeline?limit=1000").json()["entries"]
    return found

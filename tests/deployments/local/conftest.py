"""The parts that a supervisor of a test watches, a clock for it, and what it says."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.local.processes import family
from tests.deployments.local.real_parts import Clock, Part


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[dict[str, Part]]:
    found = {name: Part(name, tmp_path) for name in ("store", "ray", "serve")}
    for part in found.values():
        part.start()
    yield found
    for part in found.values():
        for record in part.records:
            for left in family(record).values():
                os.kill(left.pid, signal.SIGKILL)
        for process in part.processes:
            process.wait(timeout=10)


@pytest.fixture
def said() -> list[str]:
    return []

"""A Ray of a job's own that is not up in time. That it starts, and ends, is in the tests of the jobs that use it."""

import inspect
from typing import Any

import pytest
import ray
from ray._private.node import Node

from configs.settings import Settings
from jobs.launch.ray_session import SLOW_START, STARTS, ray_session


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each start of Ray raises, or None; those done are taken from the list."""
    outcomes: list[Any] = []

    def start(**_: Any) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return outcomes


def test_a_ray_that_a_busy_machine_keeps_from_starting_is_started_once_more(
    settings: Settings, starts: list[Any]
) -> None:
    slow = Exception(f"The current node {SLOW_START}. The GCS has become overloaded.")
    starts += [slow, None]
    with ray_session(settings):
        assert starts == []
    starts += [slow] * STARTS
    with pytest.raises(Exception, match=SLOW_START), ray_session(settings):
        raise AssertionError("it began without Ray")
    assert starts == []


def test_any_other_fault_of_a_start_is_no_reason_for_another(settings: Settings, starts: list[Any]) -> None:
    starts += [PermissionError("no folder"), None]
    with pytest.raises(PermissionError), ray_session(settings):
        raise AssertionError("it began without Ray")
    assert starts == [None]


def test_ray_says_it_in_these_words() -> None:
    assert SLOW_START in inspect.getsource(Node.__init__)

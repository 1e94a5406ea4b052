"""When a part is started again, by a clock that the test moves."""

from collections.abc import Callable

import pytest

from deployments.local.part_watch import CALM_S, Answer, PartWatch


@pytest.fixture
def watch() -> PartWatch:
    found = PartWatch("store", silent_s=30, start_s=120)
    assert not found.look(0, "first", "yes")
    return found


def start_moments(watch: PartWatch, seen: Callable[[float], tuple[str | None, Answer]], until: float) -> list[float]:
    """When it is started, looked at each tenth of a second; a start that does not help."""
    moments = []
    for tenth in range(int(until * 10)):
        now = tenth / 10
        if watch.look(now, *seen(now)):
            moments.append(now)
            watch.started(now)
    return moments


def test_the_waits_between_starts_double_up_to_a_minute_and_it_never_gives_up(watch: PartWatch) -> None:
    moments = start_moments(watch, lambda _: (None, "no"), 500)
    waits = [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert [round(wait) for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60]
    assert (watch.away_since, watch.why, watch.tries) == (0, "ended by itself", 13)


def test_a_part_that_works_for_a_while_starts_anew_with_the_shortest_wait(watch: PartWatch) -> None:
    start_moments(watch, lambda _: (None, "no"), 20)
    assert not watch.look(20, "second", "yes")
    assert watch.away_since is None
    # It dies soon again: the waits go on where they were.
    assert not watch.look(25, None, "no")
    assert watch.wait_s(25) == 16
    assert not watch.look(30, "third", "yes")
    assert not watch.look(30 + CALM_S, "third", "yes")
    assert not watch.look(31 + CALM_S, None, "no")
    assert watch.wait_s(31 + CALM_S) == 1


def test_a_silent_part_is_started_again_only_after_its_patience(watch: PartWatch) -> None:
    assert start_moments(watch, lambda _: ("first", "no"), 30) == []
    assert watch.away_since is None
    assert start_moments(watch, lambda now: ("first", "no"), 29.9) == []
    assert not watch.look(30, "first", "no")
    assert watch.look(31, "first", "no")
    assert (watch.away_since, watch.why) == (0, "did not answer for 30 s")
    watch.started(31)
    # The new one gets the time that a start takes.
    assert not watch.look(31, "second", "no")
    assert not watch.look(150, "second", "no")
    assert watch.wait_s(150) is None


def test_a_part_that_is_occupied_is_left_alone(watch: PartWatch) -> None:
    assert start_moments(watch, lambda _: ("first", "busy"), 1000) == []
    assert watch.away_since is None


def test_a_part_that_somebody_else_started_is_left_to_start(watch: PartWatch) -> None:
    assert not watch.look(0.1, None, "no")
    assert watch.wait_s(0.1) == 1
    assert not watch.look(1.2, "by hand", "no")
    assert watch.wait_s(1.2) is None
    assert not watch.look(5, "by hand", "yes")
    assert (watch.away_since, watch.tries) == (None, 0)

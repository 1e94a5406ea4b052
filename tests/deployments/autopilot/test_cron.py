from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.autopilot.cron import Cron

MINUTE_MS = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("schedule", "moment", "due"),
    [
        ("0 3 * * *", "2026-01-31 03:00", True),
        ("0 3 * * *", "2026-01-31 03:01", False),
        ("*/15 8-18 * * 1-5", "2026-01-30 18:45", True),
        ("*/15 8-18 * * 1-5", "2026-01-31 18:45", False),
        ("5,10 * 1 * *", "2026-02-01 00:10", True),
        ("0 0 * * 7", "2026-02-01 00:00", True),
        ("0 0 13 * 5", "2026-02-06 00:00", True),
        ("0 0 13 * 5", "2026-01-13 00:00", True),
        ("0 0 13 * 5", "2026-01-14 00:00", False),
        ("30/10 * * * *", "2026-01-14 00:50", True),
        # A day field that begins with a star and the other one must both fit: Fridays on an odd day.
        ("0 0 */2 * 5", "2026-01-09 00:00", True),
        ("0 0 */2 * 5", "2026-01-16 00:00", False),
        ("0 0 */2 * 5", "2026-01-11 00:00", False),
        ("0 0 1 * */2", "2026-02-01 00:00", True),
        ("0 0 1 * */2", "2026-04-01 00:00", False),
        ("0 0 29 2 *", "2028-02-29 00:00", True),
        ("0 0 * JAN MON", "2026-01-05 00:00", True),
    ],
)
def test_when_it_is_due(schedule: str, moment: str, due: bool) -> None:
    assert Cron(schedule).due_between(ms(moment) - 1, ms(moment)) is due


def test_a_moment_that_passed_unseen_is_due_once() -> None:
    cron = Cron("0 3 * * *")
    night, morning = ms("2026-01-31 02:30"), ms("2026-01-31 07:00")
    assert cron.due_between(night, morning)
    assert not cron.due_between(morning, morning + MINUTE_MS)


@given(st.integers(ms("2026-01-01"), ms("2027-01-01")), st.lists(st.integers(1, 7_200_000), min_size=1, max_size=20))
def test_looks_one_after_another_miss_no_hour_and_invent_none(start_ms: int, steps_ms: list[int]) -> None:
    times = [start_ms]
    for step in steps_ms:
        times.append(times[-1] + step)
    for a, b in pairwise(times):
        assert Cron("0 * * * *").due_between(a, b) is bool(_hours(a, b))


def _hours(after_ms: int, until_ms: int) -> list[int]:
    """The full hours that began after one time and not after the other."""
    return list(range(after_ms // 3_600_000 + 1, until_ms // 3_600_000 + 1))


@pytest.mark.parametrize(
    "bad",
    ["", "* * * *", "0 * * * * *", "@daily", "60 * * * *", "* * 0 * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"],
)
def test_what_is_no_schedule_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="schedule: "):
        Cron(bad)


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="schedule: '0 0 31 2 \\*': Bad day-of-month"):
        Cron("0 0 31 2 *")

from datetime import UTC, datetime

import pytest

from deployments.autopilot.cron import Cron


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


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
    ],
)
def test_when_it_is_due(schedule: str, moment: str, due: bool) -> None:
    assert Cron(schedule).due(at(moment)) is due


def test_a_moment_that_passed_unseen_is_due_once() -> None:
    cron = Cron("0 3 * * *")
    night, morning = (int(at(f"2026-01-31 {hour}").timestamp() * 1000) for hour in ("02:30", "07:00"))
    assert cron.due_between(night, morning)
    assert not cron.due_between(morning, morning + 60_000)


@pytest.mark.parametrize("bad", ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"])
def test_what_is_no_schedule_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="schedule: "):
        Cron(bad)

"""A promoted model that breaks a guardrail is rolled back, and only one that is to blame."""

from collections.abc import Callable

import pytest

from deployments.replica.request_metrics import RequestMetrics
from deployments.replica.user_counts import UserCounts
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION, read_slots
from features.serving.timeline import read_timeline
from tests.deployments.pilots import Pilots

pytestmark = pytest.mark.anyio


async def serve(pilots: Pilots, n: int, error: str = "", seconds: float = 0.01, user: str | None = None) -> None:
    """A replica that answers `n` requests, each of another user unless they are all of one."""
    metrics = RequestMetrics(pilots.client, pilots.keys, "ranking")
    version = (await read_slots(pilots.client, pilots.keys))[CHAMPION].version
    counts = UserCounts(metrics.counts, pilots.settings.autopilot.slow_s)
    for place in range(n):
        counts.answered(user or f"u{place}", version, seconds, error)
    await metrics.flush()


async def promoted(pilots: Pilots) -> None:
    """A second model that is being watched."""
    await set_slot(pilots.client, pilots.keys, CHAMPION, "v1", "/bundles/v1", "first")
    await pilots.look()
    await set_slot(pilots.client, pilots.keys, CHAMPION, "v2", "/bundles/v2", "a person wanted it")
    await pilots.look()


@pytest.mark.parametrize(
    ("error", "seconds", "words"),
    [("model_unavailable", 0.0, "of the requests failed"), ("", 1.7, "took more than 1 s")],
)
async def test_a_promoted_model_that_breaks_a_guardrail_is_rolled_back(
    pilots: Callable[..., Pilots], error: str, seconds: float, words: str
) -> None:
    found = pilots()
    await set_slot(found.client, found.keys, CHAMPION, "v1", "/bundles/v1", "first")
    await serve(found, 500)
    await found.look(2)
    await set_slot(found.client, found.keys, CHAMPION, "v2", "/bundles/v2", "a person wanted it")
    await found.look()
    await serve(found, 100)
    await found.look()
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v2"
    await serve(found, 60, error, seconds)
    await found.look(3)
    slot = (await read_slots(found.client, found.keys))[CHAMPION]
    assert slot.version == "v1"
    assert slot.reason.startswith("rollback: guardrail")
    assert words in slot.reason
    rolled = [line for line in await read_timeline(found.client, found.keys, 50) if "rolled back" in line.text]
    assert len(rolled) == 1


@pytest.mark.parametrize(("error", "seconds"), [("internal_error", 0.0), ("", 1.7)])
async def test_one_user_takes_no_model_back(pilots: Callable[..., Pilots], error: str, seconds: float) -> None:
    """All of 5,000 requests of one user fail, or are slow, while each of 60 others asks once and gets what he asks."""
    found = pilots()
    await promoted(found)
    await serve(found, 5_000, error, seconds, user="robot")
    await serve(found, 60)
    await found.look()
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v2"


async def test_one_user_hides_no_failures(pilots: Callable[..., Pilots]) -> None:
    found = pilots()
    await promoted(found)
    await serve(found, 50_000, user="robot")
    await serve(found, 60, "internal_error")
    await found.look()
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v1"


async def test_strangers_who_are_turned_away_do_not_hide_failures(pilots: Callable[..., Pilots]) -> None:
    found = pilots()
    await promoted(found)
    metrics = RequestMetrics(found.client, found.keys, "ranking")
    for status, error in ((401, "key_needed"), (403, "scope_needed"), (429, "rate_limited")):
        for _ in range(5_000):
            metrics.answered("recommend", status, error)
    await metrics.flush()
    await found.look()
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v2"
    await serve(found, 60, "internal_error")
    await found.look()
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v1"


async def test_what_the_model_is_not_to_blame_for_does_not_roll_back(pilots: Callable[..., Pilots]) -> None:
    found = pilots()
    await promoted(found)
    await serve(found, 100, "overloaded")
    await serve(found, 100, "store_unavailable")
    await found.look(2)
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v2"


async def test_observe_says_what_it_would_do_once_and_does_nothing(pilots: Callable[..., Pilots]) -> None:
    found = pilots(mode="observe")
    await promoted(found)
    await serve(found, 100, "internal_error")
    await found.look(3)
    assert (await read_slots(found.client, found.keys))[CHAMPION].version == "v2"
    lines = [line.text for line in await read_timeline(found.client, found.keys, 50)]
    assert sum("would roll back to v1" in line for line in lines) == 1

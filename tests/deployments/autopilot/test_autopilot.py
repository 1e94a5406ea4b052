"""Autopilot with a real store; every look is taken by another instance, as if each had been killed after the last."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from configs import clock
from configs.settings import Settings
from deployments.autopilot.alerts import Told
from deployments.autopilot.autopilot import Autopilot
from deployments.autopilot.autopilot_memory import Memory
from deployments.autopilot.promotion_guard import WatchedPromotion
from deployments.autopilot.triggers import calls_for_retraining, unlearned
from deployments.http.errors import ApiError
from deployments.operations.heartbeat import read_heartbeat
from deployments.operations.monitor import Monitor
from deployments.operations.monitor_views import Alert, DriftView
from deployments.operations.ray_jobs import RayJobs
from features.serving.promotion import set_slot
from features.serving.retraining_run import advance_run, begin_run, keep_result, read_run
from features.serving.run_record import Policy, Run, RunResult, new_run
from features.serving.slots import CHALLENGER, CHAMPION, read_slots
from features.serving.timeline import entry, read_timeline
from tests.deployments.jobs_api import JobsApi
from tests.deployments.pilots import Pilots
from tests.deployments.webhook_receiver import Receiver, wait_for
from tests.features.servers import Server

pytestmark = pytest.mark.anyio


def result(version: str = "v2", passed: bool = True) -> RunResult:
    return RunResult(version=version, uri=f"/bundles/{version}", passed=passed, reasons="the numbers", metrics={})


async def claimed(pilots: Pilots, policy: Policy = "gate", deadline_s: float = 60) -> Run:
    """A run that was claimed by somebody who was killed before the job was submitted."""
    run = new_run("person", "test", policy, deadline_s, None)
    assert await begin_run(pilots.client, pilots.keys, run, entry("retraining", "asked for")) is None
    return run


async def test_killed_before_the_job_was_submitted(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots()
    run = await claimed(found)
    await found.look(3)
    assert jobs.submissions == 1
    assert run.run_id in jobs.jobs[run.run_id]["entrypoint"]
    now = await read_run(found.client, found.keys)
    assert now is not None
    assert now.state == "training"


async def test_killed_after_the_job_was_submitted_and_before_that_was_written(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    found = pilots()
    run = await claimed(found)
    await RayJobs(found.settings).submit(run.run_id, "python -m jobs.retrain", {})
    await found.look(2)
    assert jobs.submissions == 1
    now = await read_run(found.client, found.keys)
    assert now is not None
    assert now.state == "training"


async def test_killed_while_it_trains_judges_and_ends(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots()
    run = await found.retraining().start("person", "test", "key ops")
    await found.look(2)
    await keep_result(found.client, found.keys, run.run_id, result())
    jobs.end(run.run_id, "SUCCEEDED")
    await found.look()
    judging = await read_run(found.client, found.keys)
    assert judging is not None
    assert (judging.state, judging.challenger) == ("judging", "v2")
    await found.look()
    ended = await found.ended()
    assert (ended.outcome, ended.run_id) == ("promoted", run.run_id)
    assert jobs.submissions == 1
    lines = [line for line in await read_timeline(found.client, found.keys, 50) if line.run_id == run.run_id]
    told = [line.text for line in lines]
    assert len(told) == len(set(told)) == 4
    # Regression: what a person had asked for was autopilot's.
    assert {line.who for line in lines} == {"key ops"}
    assert "--who 'key ops'" in jobs.jobs[run.run_id]["entrypoint"]


async def test_a_second_retraining_is_refused_with_the_id_of_the_first(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    found = pilots()
    run = await found.retraining().start("person", "test")
    with pytest.raises(ApiError) as refused:
        await found.retraining().start("person", "again")
    assert (refused.value.status, refused.value.job_id) == (409, run.run_id)
    assert jobs.submissions == 1


async def test_one_that_was_submitted_by_hand_counts_too(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots()
    await RayJobs(found.settings).submit("by-hand", "python -m jobs.retrain --trials 4", {})
    with pytest.raises(ApiError) as refused:
        await found.retraining().start("person", "test")
    assert refused.value.job_id == "by-hand"
    jobs.end("by-hand", "FAILED")
    await found.retraining().start("person", "test")


async def test_a_job_that_hangs_is_stopped_at_its_deadline(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots(job_deadline_s=0.001)
    run = await found.retraining().start("person", "test")
    await found.look()
    assert jobs.stopped == [run.run_id]
    assert (await found.ended()).outcome == "stopped"


@pytest.mark.parametrize("gone", [True, False])
async def test_a_job_that_fails_or_is_forgotten_ends_the_run(
    pilots: Callable[..., Pilots], jobs: JobsApi, gone: bool
) -> None:
    found = pilots()
    run = await found.retraining().start("person", "test")
    if gone:
        jobs.jobs.clear()
    else:
        jobs.end(run.run_id, "FAILED", "no data")
    await found.look()
    ended = await found.ended()
    assert ended.outcome == "failed"
    assert ("no such job" if gone else "no data") in (ended.detail or "")


async def test_failures_wait_longer_each_time(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots(cooldown_s=10, backoff_s=100)
    waits = []
    for _ in range(3):
        run = await found.retraining().start("person", "test")
        jobs.end(run.run_id, "FAILED", "no data")
        await found.look()
        raw = await found.client.run("HGET", found.keys.autopilot, "memory")
        waits.append(Memory.model_validate_json(raw).quiet_until_ms / 1000 - time.time())
    assert waits == pytest.approx([110, 210, 410], abs=5)


async def test_the_jobs_api_away_is_waited_for_and_said(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots()
    await claimed(found)
    jobs.away = True
    await found.look()
    beat = await read_heartbeat(found.client, found.keys)
    assert beat is not None
    assert "answers 500" in beat.problems["jobs"]
    jobs.away = False
    await found.look()
    assert jobs.submissions == 1


async def test_a_worse_model_is_never_promoted(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    for policy in ("manual", "gate", "experiment"):
        found = pilots(policy=policy)
        await set_slot(found.client, found.keys, CHAMPION, "v1", "/bundles/v1", "first")
        run = await found.retraining().start("person", "test")
        await keep_result(found.client, found.keys, run.run_id, result("worse", passed=False))
        jobs.end(run.run_id, "SUCCEEDED")
        await found.look(3)
        assert (await found.ended()).outcome == "not_promoted"
        slots = await read_slots(found.client, found.keys)
        assert {name: slot.version for name, slot in slots.items()} == {CHAMPION: "v1"}


async def test_with_policy_manual_a_person_decides(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots(policy="manual")
    await set_slot(found.client, found.keys, CHAMPION, "v1", "/bundles/v1", "first")
    run = await found.retraining().start("person", "test")
    assert "--slot none" in jobs.jobs[run.run_id]["entrypoint"]
    await keep_result(found.client, found.keys, run.run_id, result())
    jobs.end(run.run_id, "SUCCEEDED")
    await found.look(3)
    assert (await found.ended()).outcome == "waiting"
    slots = await read_slots(found.client, found.keys)
    assert (slots[CHAMPION].version, slots[CHALLENGER].version) == ("v1", "v2")


@pytest.mark.parametrize("asked", [True, False])
async def test_drift_while_quality_holds_retrains_only_where_asked_for(
    pilots: Callable[..., Pilots], asked: bool
) -> None:
    found = pilots(on_drift=asked)
    seen = await Monitor(found.settings, found.client, found.keys).observe()
    drift = [DriftView(name="items", value=0.4, threshold=0.2, drifted=True, detail="far apart")]
    calls = calls_for_retraining(seen, 0, 0, drift, found.settings.autopilot, None, 0, clock.now_ms())
    assert calls == ({"drift": "items: far apart"} if asked else {})


async def test_without_a_model_enough_events_call_for_the_first_one(pilots: Callable[..., Pilots]) -> None:
    found = pilots(mode="observe", new_events=50)
    monitor = Monitor(found.settings, found.client, found.keys)
    seen = await monitor.observe()
    limits = found.settings.autopilot
    assert unlearned(replace(seen, log_rows=50), 0) == 50
    assert unlearned(replace(seen, log_rows=50), None) == 0, "not known yet"
    assert calls_for_retraining(seen, 50, 50, [], limits, None, 0, clock.now_ms()) == {}
    calls = calls_for_retraining(seen, 51, 51, [], limits, None, 0, clock.now_ms())
    assert calls == {"events": "51 events and no model yet, more than 50"}
    await set_slot(found.client, found.keys, CHAMPION, "v1", "/bundles/v1", "first")
    served = replace(await Monitor(found.settings, found.client, found.keys).observe(), log_rows=51)
    assert unlearned(served, 0) == 0, "its bundle cannot be read"


async def test_the_schedule_starts_a_retraining_once(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots(schedule="* * * * *", cooldown_s=3600)
    await found.look()
    assert jobs.submissions == 0  # nobody knows since when it is due
    memory = Memory.model_validate_json(await found.client.run("HGET", found.keys.autopilot, "memory"))
    earlier = memory.model_copy(update={"scheduled_ms": memory.scheduled_ms - 120_000})
    await found.client.run("HSET", found.keys.autopilot, "memory", earlier.model_dump_json())
    await found.look(3)
    assert jobs.submissions == 1
    run = await read_run(found.client, found.keys)
    assert run is not None
    assert run.trigger == "schedule"


async def test_a_clock_that_is_set_back_keeps_no_retraining_waiting(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    """What was noted while the clock stood an hour ahead would have kept autopilot quiet for an hour."""
    found = pilots(schedule="* * * * *", cooldown_s=0)
    ahead_ms = clock.now_ms() + 3_600_000
    noted = Memory(looked_ms=ahead_ms, scheduled_ms=ahead_ms - 120_000, quiet_until_ms=ahead_ms - 1)
    await found.client.run("HSET", found.keys.autopilot, "memory", noted.model_dump_json())
    await found.look(3)
    assert jobs.submissions == 1


def test_all_that_is_noted_moves_with_a_clock_that_is_set_back() -> None:
    told = Told(alert=Alert(name="a", severity="warning", text="t"), since_ms=9_000, told_ms=9_500, seen_ms=10_000)
    watched = WatchedPromotion(
        version="v2", since_ms=9_000, until_ms=20_000, previous="v1", previous_uri="/v1", counts={}, clicks=None
    )
    memory = Memory(
        looked_ms=10_000,
        quiet_until_ms=12_000,
        reweighed_ms=9_900,
        scheduled_ms=10_000,
        noted={"drift:items": 8_000},
        told={"a": told},
        watched=watched,
    )
    memory.follow_clock(4_000)
    assert (memory.looked_ms, memory.quiet_until_ms, memory.reweighed_ms, memory.scheduled_ms) == (
        4_000,
        6_000,
        3_900,
        4_000,
    )
    assert memory.noted == {"drift:items": 2_000}
    assert (memory.told["a"].since_ms, memory.told["a"].told_ms, memory.told["a"].seen_ms) == (3_000, 3_500, 4_000)
    assert memory.watched is not None
    assert (memory.watched.since_ms, memory.watched.until_ms) == (3_000, 14_000)
    before = memory.model_copy(deep=True)
    memory.follow_clock(9_000)  # it goes on, or is set ahead
    assert memory == before.model_copy(update={"looked_ms": 9_000})


async def test_what_another_version_left_in_the_store_stops_nothing(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    found = pilots()
    await found.client.run(
        "HSET", found.keys.autopilot, "heartbeat", '{"time_ms": 1}', "memory", '{"of": "another version"}'
    )
    await claimed(found)
    await found.look()
    assert jobs.submissions == 1
    beat = await read_heartbeat(found.client, found.keys)
    assert beat is not None
    assert beat.time_ms > 1


async def test_an_end_that_was_not_noted_is_waited_after_all_the_same(
    pilots: Callable[..., Pilots], jobs: JobsApi
) -> None:
    found = pilots(cooldown_s=3600, schedule="* * * * *")
    run = await found.retraining().start("person", "test")
    jobs.end(run.run_id, "FAILED")
    await found.look()
    earlier = Memory(scheduled_ms=clock.now_ms() - 120_000)  # as it was before that look
    await found.client.run("HSET", found.keys.autopilot, "memory", earlier.model_dump_json())
    await found.look()
    assert jobs.submissions == 1


async def test_a_store_that_is_away_is_told_once_and_once_when_it_is_back(
    settings_of: Callable[..., Settings], receiver: Receiver, server: Server
) -> None:
    settings = settings_of(mode="off")
    impatient = settings.store.model_copy(update={"timeout_s": 0.2})
    settings = settings.model_copy(update={"alerts": receiver.settings(), "store": impatient})
    pilot = Autopilot(settings, no_version, no_hold)
    await pilot.try_look()
    server.pause()
    try:
        for _ in range(2):
            await pilot.try_look()
    finally:
        server.resume()
    await wait_for(lambda: len(receiver.bodies) > 0)
    deadline = time.monotonic() + 20
    while len(receiver.bodies) < 2:  # the connection is made anew
        assert time.monotonic() < deadline
        await pilot.try_look()
    await pilot.try_look()
    await pilot.stop()
    assert [(body["name"], body["status"]) for body in receiver.bodies] == [("store", "firing"), ("store", "resolved")]


async def no_version(slot: str) -> str | None:
    return None


async def no_hold(slot: str, seconds: float) -> None:
    return None


async def test_two_autopilots_at_once_end_a_run_once(pilots: Callable[..., Pilots], jobs: JobsApi) -> None:
    found = pilots()
    run = await found.retraining().start("person", "test")
    ended = run.at("ended", outcome="failed", ended_ms=1)
    line = entry("retraining", "failed", run.run_id)
    done = [await advance_run(found.client, found.keys, run, ended, line) for _ in range(2)]
    assert done == [True, False]

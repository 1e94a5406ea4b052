"""The streams go to the log by themselves, in every mode, and what is lost on the way is told."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import clock
from configs.event_types import load_event_types
from configs.groups.keeping import Keeping
from configs.settings import Settings, Store
from data.event_log import EventLog
from deployments.autopilot.autopilot import Autopilot
from deployments.autopilot.compactor import Compactor, calls_for_compaction, streams_budget
from deployments.operations.heartbeat import read_heartbeat
from deployments.operations.monitor import Monitor
from deployments.operations.prometheus_text import prometheus_text
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.lock import maintenance
from features.redis.memory import StoreMemory, read_memory
from features.streams.backlog import Backlog, read_backlog
from tests.features.servers import Server

pytestmark = pytest.mark.anyio
NO_LIMIT = StoreMemory(0, 0)
SOON = {"compact_every_h": 1e-9}
WAIT_S = 20.0


async def nobody(*_: object) -> None:
    return None


async def fill(store: OnlineStore, events: int = 30) -> None:
    now_ms = clock.now_ms()
    shown = [Exposure(f"r{n}", f"u{n}", now_ms, "v1", None, None, ("a", "b")) for n in range(events)]
    await store.record_events([Event(f"e{n}", f"u{n}", "a", "like", now_ms) for n in range(events)])
    await store.log_exposures(shown)


async def compacted(compactor: Compactor) -> None:
    deadline = time.monotonic() + WAIT_S
    while compactor.running:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def store_of(settings: Settings, client: StoreClient, keys: Keys) -> OnlineStore:
    return OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))


@pytest.mark.parametrize("mode", ["off", "observe", "act"])
async def test_it_happens_in_every_mode(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys, mode: str
) -> None:
    settings = settings_of(mode=mode).model_copy(update={"keeping": Keeping(**SOON)})
    await fill(store_of(settings, client, keys))
    pilot = Autopilot(settings, nobody, nobody)
    await pilot.look()
    await compacted(pilot.housekeeping.compactor)
    await pilot.stop()
    assert {kind: one.pending for kind, one in (await read_backlog(client, keys)).items()} == {
        "events": 0,
        "exposures": 0,
    }
    assert EventLog(settings.log_dir).count_events(simulated=True) == 30


def test_it_is_due_by_age_by_bytes_and_by_entries() -> None:
    keeping, store = Keeping(compact_every_h=2, streams_bytes=1000, compact_share=0.5), Store(max_exposures=100)

    def due(events: Backlog, exposures: Backlog, memory: StoreMemory = NO_LIMIT) -> str | None:
        return calls_for_compaction({"events": events, "exposures": exposures}, memory, keeping, store)

    none = Backlog(0, 0.0)
    assert due(none, none) is None
    assert due(Backlog(9, 7199.0, 9, 300), Backlog(40, 0.0, 40, 199)) is None
    assert due(Backlog(1, 7200.0, 1, 1), none) == "the oldest entry is 2.0 h old"
    assert "MB" in str(due(Backlog(9, 0.0, 9, 300), Backlog(9, 0.0, 9, 200)))
    assert "50 of 100 exposures" in str(due(none, Backlog(60, 0.0, 50, 1)))
    # The budget never reaches beyond what the store has.
    assert streams_budget(keeping, StoreMemory(0, 400)) == 100
    assert due(Backlog(1, 0.0, 1, 50), none, StoreMemory(0, 400)) is not None


async def test_a_failure_is_told_and_tried_again_later(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys, tmp_path: Path
) -> None:
    settings = settings_of(mode="off").model_copy(update={"keeping": Keeping(**SOON)})
    await fill(store_of(settings, client, keys))
    settings.log_dir.parent.mkdir(exist_ok=True)
    settings.log_dir.write_text("a file where the folder should be")
    pilot = Autopilot(settings, nobody, nobody)
    await pilot.look()
    await compacted(pilot.housekeeping.compactor)
    await pilot.look()
    assert not pilot.housekeeping.compactor.running  # it waits
    beat = await read_heartbeat(client, keys)
    assert beat is not None
    assert [alert.name for alert in beat.alerts if alert.name == "compaction"] == ["compaction"]
    await pilot.stop()
    settings.log_dir.unlink()
    after = Autopilot(settings, nobody, nobody)
    await after.look()
    await compacted(after.housekeeping.compactor)
    assert after.housekeeping.compactor.problem is None
    await after.stop()
    assert EventLog(settings.log_dir).count_events(simulated=True) == 30


async def test_other_maintenance_goes_first_and_is_no_failure(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys
) -> None:
    settings = settings_of().model_copy(update={"keeping": Keeping(**SOON)})
    await fill(store_of(settings, client, keys))
    compactor = Compactor(settings)
    async with maintenance(client, keys, "backup"):
        compactor.look(await read_backlog(client, keys), NO_LIMIT)
        assert compactor.running
        await compacted(compactor)
    assert compactor.problem is None
    assert (await read_backlog(client, keys))["events"].pending == 30


async def test_a_full_store_can_still_be_compacted(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys, server: Server
) -> None:
    settings = settings_of().model_copy(update={"keeping": Keeping(**SOON)})
    await fill(store_of(settings, client, keys))
    await client.run_on(keys.meta, "CONFIG SET", "maxmemory", 1_000_000)  # less than an empty server uses
    try:
        assert (await read_memory(client)).full
        compactor = Compactor(settings)
        compactor.look(await read_backlog(client, keys), NO_LIMIT)
        await compacted(compactor)
        assert compactor.problem is None
        assert (await read_backlog(client, keys))["exposures"].pending == 0
    finally:
        await client.run_on(keys.meta, "CONFIG SET", "maxmemory", 0)
    assert EventLog(settings.log_dir).count_events(simulated=True) == 30


async def test_exposures_that_are_dropped_unlogged_are_counted_and_told(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys
) -> None:
    plain = settings_of(mode="off")
    settings = plain.model_copy(update={"store": plain.store.model_copy(update={"max_exposures": 10})})
    store = store_of(settings, client, keys)
    now_ms = clock.now_ms()
    for start in range(0, 2000, 500):  # of one user, so of one partition; the server trims whole blocks of entries
        await store.log_exposures(
            [Exposure(f"r{n}", "ada", now_ms, "v1", None, None, ("a",)) for n in range(start, start + 500)]
        )
    backlog = (await read_backlog(client, keys))["exposures"]
    assert backlog.trimmed == 2000 - backlog.pending > 0
    pilot = Autopilot(settings, nobody, nobody)
    await pilot.look()
    beat = await read_heartbeat(client, keys)
    assert beat is not None
    [told] = [alert.text for alert in beat.alerts if alert.name == "exposures_trimmed"]
    assert told.startswith(f"{backlog.trimmed} exposures")
    await compacted(pilot.housekeeping.compactor)
    await pilot.stop()
    monitor = Monitor(settings, client, keys)
    assert f"\nraycommend_exposures_trimmed_total {float(backlog.trimmed)}\n" in prometheus_text(
        await monitor.observe(), 0
    )
    assert (await read_backlog(client, keys))["exposures"].trimmed == backlog.trimmed  # a compaction adds none

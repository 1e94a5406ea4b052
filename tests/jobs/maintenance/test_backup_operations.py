"""Experiments, bandits, decisions and counts outlive a backup and a restore."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from configs import clock
from configs.settings import Settings
from deployments.autopilot.autopilot_memory import Memory, remember, save
from features.experiments.bandits import reweigh_bandits
from features.experiments.changes import change_experiment, create_experiment, read_changes
from features.experiments.counts import read_sums, write_ends
from features.experiments.experiment import GRACE_MS, Definition
from features.experiments.series import add_snapshot, read_series
from features.experiments.steps import start, stop
from features.items.catalogue import Item, put_items
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.retraining_run import advance_run, begin_run, read_last_run
from features.serving.rollout import read_rollout
from features.serving.run_record import new_run
from features.serving.serving_state import read_state
from features.serving.timeline import entry, note, read_timeline
from features.telemetry.counters import Writer, read_telemetry, record_telemetry
from features.telemetry.quality_sums import read_quality, read_watermark, record_quality
from jobs.maintenance.backup import backup
from jobs.maintenance.restore import restore
from tests.features.server_clock import next_millisecond
from tests.jobs.job_store import opened

pytestmark = pytest.mark.anyio
NOT_RESTORED = (
    "versions", "meta", "catalogue_changes", "run", "telemetry:", "reporters", "left_out", "lock:", "request:"
)  # fmt: skip
"""Versions rise by a restore; the layout's mark is the store's own; simulated events are counted
anew from the streams; the others: `features.recovery.store_snapshot`."""


async def experiment(store: OnlineStore, name: str, bandit: dict[str, float] | None) -> None:
    """Two slots compared on half of the users each; a few of them look, click and rate."""
    variants = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "slot": "challenger"}]
    definition = {"id": name, "hypothesis": "h", "variants": variants, "bandit": bandit, "group": name}
    await create_experiment(store.client, store.keys, Definition.model_validate(definition), 1)
    await change_experiment(store.client, store.keys, name, lambda one, now: start(one, now, 2), "started", "go", 2)
    now_ms = clock.now_ms()
    for number in range(40):
        user, variant = f"{name}-{number}", "ab"[number % 2]
        await store.record_events([Event(f"{user}-0", user, "9", "view", now_ms)])
        shown = Exposure(f"r-{user}", user, now_ms, "v", variant, name, ("1", "2", "3"), before=number % 5)
        await store.log_exposures([shown])
        await next_millisecond(store)  # what answers a list comes later than it
        if number % 2 or number % 4 == 0:
            kind = Event(f"{user}-1", user, "2", "rating", now_ms, 4.0, recommendation_id=f"r-{user}")
            await store.record_events([kind])
    sums = await read_sums(store.client, store.keys, name, ["a", "b"])
    assert sums["a"]["n"] == sums["b"]["n"] == 20
    await add_snapshot(store.client, store.keys, name, now_ms, sums)


async def operate(store: OnlineStore) -> None:
    """All that an operator would miss."""
    client, keys = store.client, store.keys
    await store.prepare()
    await put_items(client, keys, [Item("1", "One")])
    await set_slot(client, keys, "champion", "v1", "/bundles/v1", "first")
    await set_slot(client, keys, "challenger", "v2", "/bundles/v2", "second")
    await experiment(store, "fixed", None)
    over_ms = clock.now_ms()
    await change_experiment(
        client, keys, "fixed", lambda one, _: stop(one, over_ms - GRACE_MS, "over"), "stopped", "over", 9
    )
    await write_ends(client, keys, {"fixed": over_ms})
    await experiment(store, "bandit", {"minimum_users": 2, "floor": 0.1})
    assert await reweigh_bandits(client, keys, 5)
    await note(client, keys, entry("guardrail", "v1 is watched"))
    done = new_run("person", "test", "gate", 60, "v1")
    assert await begin_run(client, keys, done, entry("retraining", "asked for")) is None
    ended = done.at("ended", outcome="failed", ended_ms=1)
    assert await advance_run(client, keys, done, ended, entry("retraining", "failed"))
    assert (
        await begin_run(client, keys, new_run("person", "next", "gate", 60, "v1"), entry("retraining", "next")) is None
    )
    await save(client, keys, Memory(failures=3, quiet_until_ms=7))
    await client.run("SET", keys.drift_reference, '{"of": "v1"}')
    writer = Writer("ranking", 1, clock.now_ms(), "one")
    assert await record_telemetry(client, keys, writer, 1, {"requests:recommend:200": 12, "cache_hits": 4})
    shown = {("v1", "2026-11-24"): {f"i{n}" for n in range(300)}, ("v2", "2026-11-24"): {"i1"}}
    sums = {pair: {"lists": 10, "clicked": 3} for pair in shown}
    assert await record_quality(client, keys, None, 4_000, sums, shown)


async def control(store: OnlineStore) -> dict[str, Any]:
    """Every control key with its content, by what comes after the tag."""
    client, prefix = store.client, f"{store.keys.prefix}:{{control}}:"
    readers = {
        "hash": lambda key: ("HGETALL", key),
        "string": lambda key: ("GET", key),
        "stream": lambda key: ("XRANGE", key, "-", "+"),
    }
    found = {}
    for key in [key async for key in client.scan(f"{prefix}*")]:
        kind = (await client.run("TYPE", key)).decode()
        found[key.decode().removeprefix(prefix)] = await client.run(*readers[kind](key))
    return found


async def per_user(store: OnlineStore) -> dict[str, Any]:
    """What experiments have counted, and which variant each user keeps."""
    found: dict[str, Any] = {}
    keys: Keys = store.keys
    for kind, names in (("x", None), ("u", "x")):
        for key in [key async for key in store.client.scan(keys.pattern(kind))]:
            command = ("HGETALL", key) if names is None else ("HGET", key, names)
            found[key.decode().partition("}")[2]] = await store.client.run(*command)
    for partition in range(keys.partitions):
        found[f"sums {partition}"] = await store.client.run("HGETALL", keys.experiment_sums(partition))
    return found


async def test_experiments_decisions_and_counts_are_restored(with_store: Settings, tmp_path: Path) -> None:
    limits = with_store.store.model_copy(update={"prefix": f"t{uuid.uuid4().hex[:12]}"})
    folders = {"state_dir": tmp_path / "other" / "state", "data_dir": tmp_path / "other" / "data"}
    elsewhere = with_store.model_copy(update={"store": limits, **folders})
    old, new = opened(with_store), opened(elsewhere)
    await operate(old)
    counted = await per_user(old)
    await restore(elsewhere, await backup(with_store, tmp_path / "backups"))

    assert await per_user(new) == counted
    before, after = await control(old), await control(new)
    kept = {name for name in before if not name.startswith(NOT_RESTORED)}
    assert kept >= {
        "autopilot", "catalogue", "decisions", "drift_reference", "experiment_changes", "experiment_series:bandit",
        "experiment_series:fixed", "experiments", "last_run", "quality", "shown:v1:2026-11-24", "slots", "telemetry",
        "timeline",
    }  # fmt: skip
    for name in kept:
        assert after[name] == before[name], name
    assert "run" not in after

    # And each is read as it was.
    kept_memory, memory = await remember(old.client, old.keys), await remember(new.client, new.keys)
    assert memory.model_copy(update={"looked_ms": kept_memory.looked_ms}) == kept_memory
    for read in (read_last_run, read_quality, read_rollout, read_watermark):
        assert await read(new.client, new.keys) == await read(old.client, old.keys), read.__name__  # type: ignore[operator]
    assert await read_timeline(new.client, new.keys, 50) == await read_timeline(old.client, old.keys, 50)
    assert (await read_telemetry(new.client, new.keys)).totals["requests:recommend:200"] == 12
    quality = {one.version: one.items_shown for one in await read_quality(new.client, new.keys)}
    assert quality["v1"] == pytest.approx(300, rel=0.03)
    assert 0 < await new.client.run("TTL", new.keys.shown_items("v1", "2026-11-24")) <= 40 * 86_400
    for name in ("fixed", "bandit"):
        for read_one in (read_changes, lambda client, keys, one: read_series(client, keys, one, 10)):
            assert await read_one(new.client, new.keys, name) == await read_one(old.client, old.keys, name)
    bandit = (await read_state(new.client, new.keys)).experiments["bandit"]
    assert (bandit.status, len(bandit.periods)) == ("running", 2)
    assert bandit.weights != [0.5, 0.5]

    # It goes on: a user's next event moves the sums, an experiment that was over stays so.
    for name, moved in (("bandit", 1), ("fixed", 0)):
        events = (await read_sums(new.client, new.keys, name, ["b"]))["b"]["events"]
        await new.record_events([Event(f"late-{name}", f"{name}-1", "3", "like", clock.now_ms())])
        assert (await read_sums(new.client, new.keys, name, ["b"]))["b"]["events"] == events + moved
    for store in (old, new):
        await store.client.aclose()

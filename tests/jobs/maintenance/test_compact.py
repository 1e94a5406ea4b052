"""Compaction in a process of its own, killed again and again: the log equals the record of what was acknowledged."""

import asyncio
import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from configs.settings import PROJECT_DIR, Settings, Store
from data.event_log import EventLog, read_event_log
from features.recording.event import Event
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.errors import StoreBusy
from features.redis.lock import maintenance
from features.streams.compaction import compact
from jobs.maintenance.compact import main
from tests.features.servers import Server, valkey_binary
from tests.jobs.job_store import opened

pytestmark = pytest.mark.anyio
START_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(valkey_binary(), tmp_path_factory.mktemp("valkey"))
    yield running
    running.stop()


@pytest.fixture
def own(server: Server, tmp_path: Path) -> Settings:
    """Settings with a store and a state folder of the test's own."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    return Settings(state_dir=tmp_path, store=Store(url=server.url, prefix=prefix, partitions=4, timeout_s=10))


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "RAYCOMMEND_STATE_DIR": str(settings.state_dir),
        "REDIS_URL": settings.store_url,
        "RAYCOMMEND_STORE_PREFIX": settings.store.prefix,
        "RAYCOMMEND_STORE_PARTITIONS": str(settings.store.partitions),
    }


def event(number: int) -> Event:
    context = {"n": number} if number % 2 else None
    return Event(f"e{number}", f"u{number % 40}", f"i{number % 9}", "like", START_MS + number, context=context)


async def streamed(store: OnlineStore) -> Counter[str]:
    """Events still in the streams."""
    found: Counter[str] = Counter()
    for partition in range(store.keys.partitions):
        for _, fields in await store.client.run("XRANGE", store.keys.events(partition), "-", "+"):
            found[orjson.loads(fields[b"e"])["event_id"]] += 1
    return found


def logged(log: EventLog) -> Counter[str]:
    """Events in the parts, counting every row of every file."""
    found: Counter[str] = Counter()
    for part in log.parts("events"):
        found.update(pq.read_table(part.path, columns=["event_id"], partitioning=None)["event_id"].to_pylist())
    return found


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.matrix)])
async def test_killed_at_random_moments_nothing_is_lost_or_repeated(own: Settings, kills: int) -> None:
    store = opened(own)
    await store.prepare()
    log = EventLog(own.log_dir)
    acknowledged: Counter[str] = Counter()
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            batch = [event(number + part) for part in range(20)]
            number += 20
            for sent in batch:
                acknowledged[sent.event_id] += 1
            await store.record_events(batch)
            shown = [Exposure(f"r{number}", batch[0].user_id, START_MS, None, None, None, ("i1",))]
            await store.log_exposures(shown)
            await asyncio.sleep(0.002)

    writing = asyncio.create_task(write())
    command = [sys.executable, "-m", "jobs.compact", "--lock-s", "1", "--wait-s", "20", "--chunk-rows", "40"]
    lock_key = store.keys.lock("maintenance")
    killed_at_work = 0
    for number in range(kills):
        process = await asyncio.create_subprocess_exec(
            *command, env=environment(own), cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        ended = asyncio.create_task(process.wait())
        # A dead compaction's lock runs out before this one can begin, so who holds it now is this one
        before = await store.client.run("GET", lock_key)
        while not ended.done() and (await store.client.run("GET", lock_key)) in (None, before):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.002)
        # Every other one is killed after it has written a part, however slow the machine is.
        parts = len(log.parts("events"))
        while number % 2 and not ended.done() and len(log.parts("events")) == parts:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.002)
        await asyncio.wait([ended], timeout=random.Random(number).random() * 0.25)
        if not ended.done():
            process.kill()
            killed_at_work += 1
        await ended
        assert process.stderr is not None
        errors = (await process.stderr.read()).decode()
        assert not errors, errors
    stop.set()
    await writing
    assert killed_at_work >= kills // 2
    assert log.parts("events"), "no kill came after the first part"
    await compact(own, wait_s=10)
    assert logged(log) == acknowledged
    assert await streamed(store) == Counter()
    assert len(read_event_log(own.log_dir)) == len(acknowledged)
    exposures = [row for table in log.tables("exposures") for row in table["recommendation_id"].to_pylist()]
    assert Counter(exposures) == Counter(f"r{number}" for number in range(20, len(acknowledged) + 1, 20))
    assert log.sweep() == 0
    await store.client.aclose()


async def test_what_was_drained_is_whole_and_the_streams_are_empty(own: Settings) -> None:
    store = opened(own)
    await store.record_events([event(number) for number in range(300)])
    done = await compact(own, chunk_rows=50)
    assert (done.events, done.exposures) == (300, 0)
    assert done.parts >= 300 / 50
    frame = read_event_log(own.log_dir).to_pandas()
    assert frame["event_id"].tolist() == [f"e{number}" for number in range(300)]
    rows = [row for number in range(4) for row in EventLog(own.log_dir).user_rows("events", number, "u1")]
    assert [row["context"] for row in rows][:2] == ['{"n":1}', '{"n":41}']
    assert [row["received_ms"] for row in rows][:1] == [0]
    assert (await compact(own)).parts == 0
    # Drained entries stay duplicates, and new ones follow on
    (again, new) = await store.record_events([event(5), event(300)])
    assert (again.duplicate, new.duplicate) == (True, False)
    assert (await compact(own)).events == 1
    await store.client.aclose()


async def test_entries_that_a_part_holds_already_are_only_trimmed(own: Settings) -> None:
    """The state that a kill between rename and trim leaves, made by hand."""
    store = opened(own)
    await store.record_events([event(number) for number in range(100)])
    before = {}
    for partition in range(4):
        key = store.keys.events(partition)
        before[key] = await store.client.run("XRANGE", key, "-", "+")
    await compact(own)
    names = {part.path.name for part in EventLog(own.log_dir).parts("events")}
    for key, entries in before.items():
        await store.client.run("UNLINK", key)
        for entry_id, fields in entries:
            await store.client.run("XADD", key, entry_id, "e", fields[b"e"])
    done = await compact(own)
    assert (done.events, done.parts) == (0, 0)
    assert await streamed(store) == Counter()
    assert {part.path.name for part in EventLog(own.log_dir).parts("events")} == names
    await store.client.aclose()


async def test_two_at_once_are_one_after_the_other(own: Settings) -> None:
    store = opened(own)
    await store.record_events([event(number) for number in range(200)])
    done = await asyncio.gather(*(compact(own, wait_s=10, chunk_rows=20) for _ in range(3)))
    assert sum(one.events for one in done) == 200
    assert logged(EventLog(own.log_dir)) == Counter(f"e{number}" for number in range(200))
    async with maintenance(store.client, store.keys, "rebuild"):
        with pytest.raises(StoreBusy, match="rebuild"):
            await compact(own, wait_s=0.2)
    await store.client.aclose()


def test_a_store_that_is_down_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    assert main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("compact: the online store does not answer")
    assert said.err.count("\n") == 1

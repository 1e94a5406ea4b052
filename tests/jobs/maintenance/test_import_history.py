"""History of a large file in bulk: the same events, features and refusals as row by row, whatever is killed when."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs import clock
from configs.settings import PROJECT_DIR, Settings
from data.event_log import EventLog, read_event_log
from data.sources import addresses, csv_blocks
from features.items.catalogue import Item, put_items
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.recovery.seeded_history import SeededHistory
from features.streams.compaction import compact
from jobs.maintenance import import_events as job
from jobs.maintenance.import_events import import_events
from tests.features import reading
from tests.jobs.maintenance.test_compact import environment

pytestmark = pytest.mark.anyio
ITEMS = [Item(f"i{n}", f"Item {n}", categories=("Bread", "Daily")[: n % 3]) for n in range(9)]
KILLS = [("forget", 1), ("staged", 1), ("saved", 1), ("staged", 2), ("saved", 1), ("written", 1), ("written", 3)]
KILLS += [("seeded", 1), ("seeded", 3)]
"""After how many calls of which step of an attempt it dies; each attempt comes farther than the one before."""


class Killed(BaseException):
    """What a killed process leaves undone, without waiting for its lock."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Old and recent rows, repeats, a conflict, refusals; the last rows need the careful reader."""
    now_s = clock.now_ms() // 1000
    lines = ["user_id,item_id,event_type,rating,timestamp,event_id"]
    for n in range(300):
        time_s = now_s - 60 - n if n % 10 == 3 else 1_700_000_000 + (n * 37) % 200 * 3600
        kind, rating = ("rating", str(n % 5 + 1)) if n % 3 else ("like", "")
        lines.append(f"u{n % 7},i{n % 11},{kind},{rating},{time_s},{f'e{n}' if n % 2 else ''}")
    lines += [lines[2], lines[4].replace(",i3,", ",i4,"), "u1,i1,stare,,1700000000,", "u1,,like,,1700000000,"]
    lines += ['u1,i1,like,,1700000000,"q1"', "u1,i2,like,,2023-11-14T22:13:20Z", "u1,i1,rating,9,1700000000,"]
    path = tmp_path / "events.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


async def outcome(settings: Settings, store: OnlineStore) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All features, and all events of the log and the streams."""
    features = await reading.everything(store)
    await compact(settings)
    log = read_event_log(settings.log_dir).drop_columns(["received_ms"])
    return features, log.to_pylist()


def by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "BULK_BYTES", 1_000_000)


def in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "BULK_BYTES", 0)
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(addresses, "CHUNK_BYTES", 1_000)


async def test_history_in_bulk_is_what_the_rows_one_by_one_are(
    with_store: Settings, store: OnlineStore, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_items(store.client, store.keys, ITEMS)
    by_row(monkeypatch)
    apart = with_store.model_copy(update={"state_dir": tmp_path / "apart"})
    expected, report = await import_events(apart, file)
    features, log = await outcome(apart, store)
    refused = report.read_text()

    await store.client.raw.flushall()
    await store.prepare()
    await put_items(store.client, store.keys, ITEMS)
    in_bulk(monkeypatch)
    done, report = await import_events(with_store, file)
    assert (done.rows, done.recorded, done.duplicates, done.refused) == (307, 302, 1, 4)
    assert done.recorded == expected.recorded
    assert (done.duplicates, done.refused, done.rows) == (expected.duplicates, expected.refused, expected.rows)
    assert {part.bulk for part in EventLog(with_store.log_dir).parts("events")} == {
        False,
        True,
    }  # recent ones came by stream
    assert await outcome(with_store, store) == (features, log)
    assert sorted(report.read_text().splitlines()) == sorted(refused.splitlines())


def break_after(monkeypatch: pytest.MonkeyPatch, what: str, calls: int) -> None:
    """Let the import die after so many calls of one of its steps."""
    owner, name = {
        "forget": (job.StagedHistory, "forget_from"),
        "staged": (job.StagedHistory, "add"),
        "saved": (job, "save_progress"),
        "written": (EventLog, "write_part"),
        "seeded": (SeededHistory, "of_partition"),
    }[what]
    step: Callable[..., Any] = getattr(owner, name)
    left = calls

    def then_die(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        found = step(*arguments, **options)
        left -= 1
        if left == 0:
            raise Killed
        return found

    monkeypatch.setattr(owner, name, then_die)


async def test_a_kill_at_any_step_neither_loses_nor_repeats_an_event(
    with_store: Settings, store: OnlineStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_bulk(monkeypatch)
    await put_items(store.client, store.keys, ITEMS)
    for what, calls in KILLS:
        with monkeypatch.context() as patch:
            break_after(patch, what, calls)
            with pytest.raises(Killed):
                await import_events(with_store, file)
    done, report = await import_events(with_store, file)
    assert done.finished
    assert (done.rows, done.refused) == (307, 4)
    log = read_event_log(with_store.log_dir)
    streams = [("XLEN", store.keys.events(partition)) for partition in range(store.keys.partitions)]
    rows = sum(table.num_rows for table in EventLog(with_store.log_dir).tables("events"))
    assert rows == len(log) == 302 - sum(await store.client.read(streams))
    assert [json.loads(line)["row"] for line in report.read_text().splitlines()].count(303) == 1
    features, events = await outcome(with_store, store)
    assert len(events) == 302
    assert sum(int(totals[b"events"]) for key, totals in features.items() if ":t" in key and b"events" in totals) == 302


async def test_a_killed_process_goes_on(with_store: Settings, store: OnlineStore, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = (f"user-{n % 997},item-{n % 313},like,{1_600_000_000 + n}\n" for n in range(120_000))
    path.write_text("user_id,item_id,event_type,timestamp\n" + "".join(rows))
    command = [sys.executable, "-m", "jobs.import_events", str(path)]
    state = with_store.state_dir / "imports"
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(with_store), cwd=PROJECT_DIR, stderr=asyncio.subprocess.PIPE
    )
    ended = asyncio.create_task(process.wait())
    while not ended.done() and not list(state.glob("*/*.parquet")):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.002)
    assert not ended.done(), "it ended before it could be killed"
    process.kill()
    await ended
    done, _ = await import_events(with_store, path)
    assert (done.recorded, done.duplicates, done.refused) == (120_000, 0, 0)
    assert read_event_log(with_store.log_dir).num_rows == 120_000
    assert not [left for left in state.iterdir() if left.is_dir()]


async def test_an_event_of_the_history_that_comes_again_over_http_is_one_event_to_a_training(
    with_store: Settings, store: OnlineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/own-data.md says: features count it twice, the reader of the log once; a larger file adds the rest."""
    in_bulk(monkeypatch)
    await put_items(store.client, store.keys, ITEMS)
    header, row = "user_id,item_id,event_type,timestamp,event_id\n", "ann,i1,like,1700000000,e1\n"
    (tmp_path / "one.csv").write_text(header + row)
    assert (await import_events(with_store, tmp_path / "one.csv"))[0].recorded == 1
    [again] = await store.record_events([Event("e1", "ann", "i1", "like", 1_700_000_000_000, None)])
    assert not again.duplicate
    [once_more] = await store.record_events([Event("e1", "ann", "i1", "like", 1_700_000_000_000, None)])
    assert once_more.duplicate
    assert len((await reading.user_features(store, "ann"))["history"]) == 2
    await compact(with_store)
    assert len(read_event_log(with_store.log_dir)) == 1
    (tmp_path / "more.csv").write_text(header + row + row.replace("e1", "e2"))
    done, _ = await import_events(with_store, tmp_path / "more.csv")
    assert (done.recorded, done.duplicates) == (1, 1)
    assert len(read_event_log(with_store.log_dir)) == 2

"""An import into the store: recorded once, continued after an end, and told to whoever ran it."""

import json
from pathlib import Path

import pytest

from configs.settings import Settings
from features.items.catalogue import Item, put_items
from features.recording.online_store import OnlineStore
from features.redis.errors import StoreUnavailable
from features.redis.identity import store_identity
from jobs.maintenance import import_events as job
from jobs.maintenance.import_events import import_events, main

pytestmark = pytest.mark.anyio

HEADER = "user_id,item_id,event_type,rating,timestamp\n"


def written(path: Path) -> Path:
    """A file of three events."""
    path.write_text(HEADER + "".join(f"ann,i{n},like,,{1_700_000_000 + n}\n" for n in range(3)))
    return path


async def stream_length(store: OnlineStore) -> int:
    partitions = range(store.keys.partitions)
    return sum(await store.client.read([("XLEN", store.keys.events(partition)) for partition in partitions]))


async def test_a_file_is_imported_again_into_another_store(with_store: Settings, tmp_path: Path) -> None:
    """Regression: after the store had been emptied the import said that there was nothing to do."""
    file = written(tmp_path / "events.csv")
    first, _ = await import_events(with_store, file)
    again, _ = await import_events(with_store, file)
    assert (first.begun_at, again.begun_at, again.recorded) == (0, 3, 3)
    other = with_store.model_copy(update={"store": with_store.store.model_copy(update={"prefix": "emptied"})})
    anew, _ = await import_events(other, file)
    assert (anew.begun_at, anew.recorded) == (0, 3)
    assert (await import_events(with_store, file))[0].begun_at == 3


async def test_the_ledger_of_an_earlier_version_is_taken_over_once(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    file = written(tmp_path / "events.csv")
    await import_events(with_store, file)
    identity = await store_identity(store.client, store.keys)
    [ledger] = (with_store.state_dir / "imports").glob("events-*.json")
    ledger.rename(ledger.with_name(ledger.name.replace(f"-{identity}", "")))
    assert (await import_events(with_store, file))[0].begun_at == 3


async def test_an_interrupted_import_goes_on_and_nothing_counts_twice(
    with_store: Settings, store: OnlineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "BATCH", 50)
    file = tmp_path / "events.csv"
    lines = [f"u{n % 7},i{n % 11},{'like' if n % 10 else 'stare'},,{1_700_000_000 + n}" for n in range(400)]
    file.write_text(HEADER + "\n".join(lines) + "\n")
    save, batches = job.save_progress, 0

    def save_until_the_third(path: Path, done: job.ImportedEvents) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise OSError("the machine lost power after the store acknowledged")
        save(path, done)

    monkeypatch.setattr(job, "save_progress", save_until_the_third)
    with pytest.raises(OSError, match="power"):
        await import_events(with_store, file)
    done, report = await import_events(with_store, file)
    assert (done.rows, done.recorded, done.duplicates, done.finished) == (400, 315, 45, True)
    assert await stream_length(store) == 360
    done, _ = await import_events(with_store, file)  # a finished import has nothing left to do
    assert done.rows == 400
    assert await stream_length(store) == 360
    assert [json.loads(line)["row"] for line in report.read_text().splitlines()] == list(range(1, 401, 10))


async def test_the_same_content_in_two_rows_is_two_events(with_store: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "1,2,like,,1700000000\n" * 3)
    done, _ = await import_events(with_store, file)
    assert (done.recorded, done.duplicates) == (3, 0)


async def test_a_closed_catalogue_refuses_unknown_items(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    await put_items(store.client, store.keys, [Item("2", "Two")])
    closed = with_store.model_copy(update={"data": with_store.data.model_copy(update={"open_catalogue": False})})
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "1,2,like,,1700000000\n1,3,like,,1700000000\n")
    done, report = await import_events(closed, file)
    assert (done.recorded, done.refused) == (1, 1)
    assert json.loads(report.read_text())["field"] == "item_id"


async def test_a_store_that_is_down_leaves_the_import_where_it_was(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "1,2,like,,1700000000\n")
    with pytest.raises(StoreUnavailable):
        await import_events(settings, file)


def test_an_attempt_that_goes_on_says_so(
    with_store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"STATE_DIR": with_store.state_dir, "STORE_PREFIX": with_store.store.prefix}.items():
        monkeypatch.setenv(f"RAYCOMMEND_{name}", str(value))
    monkeypatch.setenv("REDIS_URL", with_store.store_url)
    monkeypatch.setattr(job, "BATCH", 2)
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "".join(f"1,{n},like,,1700000000\n" for n in range(5)))
    save = job.save_progress

    def fail_after_two(path: Path, done: job.ImportedEvents) -> None:
        save(path, done)
        if done.rows == 2:
            raise StoreUnavailable("gone")

    monkeypatch.setattr(job, "save_progress", fail_after_two)
    assert main([str(file)]) == 1
    assert "start it again to go on" in capsys.readouterr().err
    assert main([str(file)]) == 0
    counts = "5 events recorded, 0 were there already, 0 rows refused"
    assert capsys.readouterr().out == f"went on after row 2; over all attempts: {counts}\n"


def test_the_command_tells_what_it_did(
    with_store: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(with_store.state_dir))
    monkeypatch.setenv("REDIS_URL", with_store.store_url)
    monkeypatch.setenv("RAYCOMMEND_STORE_PREFIX", with_store.store.prefix)
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "1,2,like,,1700000000\n1,2,stare,,1700000000\n")
    assert main([str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 events recorded, 0 were there already, 1 rows refused"
    assert said[1].endswith("-refused.jsonl")
    assert main([str(file)]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0].startswith(f"nothing to do: {file} was imported before ({said[0]}); delete ")
    assert again[1:] == said[1:]
    state = Path(again[0].removesuffix(" to import it again").rpartition(" delete ")[2])
    state.unlink()
    assert main([str(file)]) == 0
    once_more = capsys.readouterr().out.splitlines()
    assert once_more == ["0 events recorded, 1 were there already, 1 rows refused", said[1]]
    assert main([str(tmp_path / "nothing.csv")]) == 1
    assert "no such file" in capsys.readouterr().err

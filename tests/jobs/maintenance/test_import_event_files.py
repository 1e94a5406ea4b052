"""Which files can be imported, what their columns hold, and which rows are refused."""

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from configs.settings import PROJECT_DIR, Settings
from data.dataset import DataError
from data.imports.event_file import FIELDS
from features.items.catalogue import Item, put_items
from features.recording.online_store import OnlineStore
from jobs.maintenance.import_events import import_events, main
from tests.features import reading

pytestmark = pytest.mark.anyio

HEADER = "user_id,item_id,event_type,rating,timestamp\n"


SHOP = "customer;sku;did;at;stars\n"


@pytest.fixture
def rows() -> list[dict[str, object]]:
    return [
        {"user_id": "196", "item_id": "242", "event_type": "rating", "value": 3.0, "timestamp": 881250949},
        {"user_id": "196", "item_id": "7", "event_type": "like", "timestamp": "2026-01-31T12:00:00Z"},
        {
            "user_id": "Zoë",
            "item_id": "a b",
            "event_type": "view",
            "timestamp_ms": 1_700_000_000_123,
            "context": {"device": "tv"},
        },
    ]


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        return path
    frame = pd.DataFrame(rows)
    frame["context"] = [None if value != value else json.dumps(value) for value in frame["context"]]
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.astype({"timestamp": "str"}).replace({"timestamp": {"nan": None}}).to_parquet(path)
    return path


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
async def test_every_format_gives_the_same_features(
    with_store: Settings, store: OnlineStore, tmp_path: Path, rows: list[dict[str, object]], kind: str
) -> None:
    await put_items(store.client, store.keys, [Item("7", "Seven", categories=("Crime",))])
    done, _ = await import_events(with_store, written(tmp_path / f"events{kind}", rows))
    assert (done.rows, done.recorded, done.duplicates, done.refused, done.finished) == (3, 3, 0, 0, True)
    found = await reading.user_features(store, "196")
    assert found["history"] == [
        (881_250_949_000, b"242", 5, 3.0),
        (1_769_860_800_000, b"7", 3, float("-inf")),
    ]
    assert found["affinities"] == {"Crime": 1.0}
    assert (await reading.user_features(store, "Zoë"))["last_ms"] == 1_700_000_000_123


async def test_refused_rows_are_reported_with_number_field_and_reason(with_store: Settings, tmp_path: Path) -> None:
    lines = [
        "1,2,rating,4,1700000000",
        "1,2,rating,,1700000000",
        "1,2,rating,nan,1700000000",
        "1,2,rating,9,1700000000",
        "1,2,stare,,1700000000",
        ",2,like,,1700000000",
        "1,2,like,,",
        "1,2,like,3,1700000000",
        "1,2,like,,9000000000",
        "1,2,like,,yesterday",
        "1,2,like,,1700000000,more",
        f"{'x' * 201},2,like,,1700000000",
        "1,2,like,,-5",
    ]
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "\n".join(lines) + "\n")
    done, report = await import_events(with_store, file)
    assert (done.recorded, done.refused) == (1, 12)
    refused = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(row["row"], row["field"]) for row in refused] == [
        (2, "rating"),
        (3, "rating"),
        (4, "rating"),
        (5, "event_type"),
        (6, "user_id"),
        (7, "timestamp"),
        (8, "rating"),
        (9, "timestamp"),
        (10, "timestamp"),
        (11, None),
        (12, "user_id"),
        (13, "timestamp"),
    ]
    assert "0.5 to 5" in refused[2]["reason"]
    assert "purchase" in refused[3]["reason"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "user_id,item_id,event_type,timestamp,mood\n", "unknown column 'mood'"),
        ("a.csv", "user_id,event_type\n", "it has no rows, only the names of columns"),
        ("a.csv", "user_id,event_type\na,like\nb,like\n", "item_id: no column's name says that it holds the item_id"),
        ("sqlite:///shop.db#orders", None, "rows of a database have no fixed order"),
        ("a.csv", "user_id,item_id,event_type\nu,i,like\nv,j,like\n", "it has no times"),
        ("a.csv", b"user_id,item_id,event_\xff\n1,1,like\n", "UTF-8"),
        ("a.csv", "user_id,item_id,event_type,timestamp,user_id\n", "two columns are called 'user_id'"),
        ("a.csv", ",user_id,item_id,event_type,timestamp\n0,w1,a,like,1700000000\n", "column 1 has no name"),
        ("a.parquet", "no parquet", "no whole Parquet"),
        ("a.xlsx", "", "csv"),
        ("none.csv", None, "no such file"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(
    with_store: Settings, tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        await import_events(with_store, name if "://" in name else tmp_path / name)


@pytest.mark.parametrize("kind", ["events.csv.gz", "events.tsv", "events.txt", "events.csv", "folder", "events.json"])
async def test_what_make_up_reads_is_imported(
    with_store: Settings, store: OnlineStore, tmp_path: Path, kind: str
) -> None:
    """Commas alone were read, and neither packed files nor folders."""
    header = ["user_id", "item_id", "event_type", "timestamp"]
    rows = [["ann", f"i{n}", "like", str(1_700_000_000 + n)] for n in range(4)] + [["ann", "i9", "stare", "1700000000"]]
    path = tmp_path / kind

    def text(separator: str, part: list[list[str]], encoding: str = "utf-8") -> bytes:
        return "".join(separator.join(row) + "\n" for row in [header, *part]).encode(encoding)

    if kind == "folder":
        path.mkdir()
        (path / "1.csv").write_bytes(text(";", rows[:2]))
        (path / "2.csv").write_bytes(text(",", rows[2:]))
    elif kind == "events.json":
        path.write_text("".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows))
    elif kind.endswith(".gz"):
        path.write_bytes(gzip.compress(text(",", rows)))
    else:
        separator = {".tsv": "\t", ".txt": "|", ".csv": ";"}[path.suffix]
        path.write_bytes(text(separator, rows, "utf-16" if kind == "events.csv" else "utf-8"))
    done, report = await import_events(with_store, path)
    assert (done.recorded, done.refused, done.rows) == (4, 1, 5)
    told = json.loads(report.read_text())
    assert (told.get("file"), told["row"]) == (("2.csv", 3) if kind == "folder" else (None, 5))
    assert "stare" in told["reason"]
    history = (await reading.user_features(store, "ann"))["history"]
    assert [(item.decode(), time_ms) for time_ms, item, *_ in history] == [
        (f"i{n}", 1_700_000_000_000 + 1000 * n) for n in range(4)
    ]
    assert (await import_events(with_store, path))[0].begun_at == 5


async def test_columns_of_other_names_are_guessed_shown_and_checked(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    file = tmp_path / "shop.csv"
    rows = ["ann;7;view;2023-11-14T22:13:20Z;", "ann;8;purchase;2023-11-14T22:13:21Z;", ";9;view;1700000000;"]
    file.write_text("customer;sku;action;happened_at;note\n" + "\n".join(rows) + "\n")
    shown: list[str] = []
    done, report = await import_events(with_store, file, show=shown.append)
    assert any(line.split()[:3] == ["user_id", "<-", "customer"] for line in shown)
    assert (done.recorded, done.refused) == (2, 1)
    assert json.loads(report.read_text()) == {"row": 3, "field": "customer", "reason": "is empty"}
    history = (await reading.user_features(store, "ann"))["history"]
    assert [(item.decode(), time_ms) for time_ms, item, *_ in history] == [
        ("7", 1_700_000_000_000), ("8", 1_700_000_001_000)
    ]  # fmt: skip


async def test_a_map_says_what_the_columns_hold_and_that_of_the_data_set_is_taken_where_it_fits(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    file, map_file = tmp_path / "shop.csv", tmp_path / "map.yaml"
    rows = ["ann;7;Note;14.11.2023 22:13;8,5", "ann;8;Kauf;14.11.2023 22:14;", "ann;9;Retour;14.11.2023 22:15;",
            "ann;6;Kauf;gestern;", "ann;;Kauf;14.11.2023 22:15;"]  # fmt: skip
    file.write_text(SHOP + "\n".join(rows) + "\n")
    map_file.write_text(
        "interactions:\n  user_id: customer\n  item_id: sku\n  time: {column: at, format: '%d.%m.%Y %H:%M'}\n"
        "  event_type: {column: did, map: {rating: [note], purchase: [kauf]}, leave_out: [retour]}\n"
        "  value: {column: stars, scale: [1, 10], decimal: ','}\n"
    )
    done, report = await import_events(with_store, file, map_file)
    assert (done.recorded, done.refused, done.left_out) == (2, 2, 1)
    refused = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(row["row"], row["field"]) for row in refused] == [(4, "at"), (5, "sku")]
    history = (await reading.user_features(store, "ann"))["history"]
    assert [(item.decode(), value) for _, item, _, value in history] == [("7", 4.25), ("8", float("-inf"))]
    own = with_store.model_copy(update={"data_dir": tmp_path / "data"})
    kept = own.data_dir / "processed" / "map.yaml"
    kept.parent.mkdir(parents=True, exist_ok=True)
    map_file.rename(kept)
    again = tmp_path / "more.csv"
    again.write_text(SHOP + "ann;5;Kauf;15.11.2023 10:00;\n")
    assert (await import_events(own, again))[0].recorded == 1


async def test_the_map_of_the_data_set_is_taken_for_a_header_that_only_it_can_read(
    with_store: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    """The header was read as UTF-8 before the map was looked at, which names the encoding."""
    own = with_store.model_copy(update={"data_dir": tmp_path / "data"})
    kept = own.data_dir / "processed" / "map.yaml"
    kept.parent.mkdir(parents=True, exist_ok=True)
    file = tmp_path / "shop.csv"
    file.write_bytes("Käufer;Artikel;Zeit\nJörg;Käse;2023-11-14 22:13:20\n".encode("cp1252"))
    with pytest.raises(DataError, match="it is not text in UTF-8"):
        await import_events(own, file)
    text = (
        "interactions:\n  user_id: käufer\n  item_id: ITEM\n  time: zeit\n  event_type: {constant: purchase}\n"
        "  value: null\n  read: {separator: ';', encoding: cp1252}\n"
    )
    kept.write_text(text.replace("ITEM", "ware"))
    with pytest.raises(DataError, match="it is not text in UTF-8"):  # its columns are not there
        await import_events(own, file)
    kept.write_text(text.replace("ITEM", "artikel"))
    shown: list[str] = []
    done, _ = await import_events(own, file, show=shown.append)
    assert (done.recorded, done.refused) == (1, 0)
    assert any("Käufer" in line or "käufer" in line for line in shown)
    history = (await reading.user_features(store, "Jörg"))["history"]
    assert [(time_ms, item.decode()) for time_ms, item, *_ in history] == [(1_700_000_000_000, "Käse")]


async def test_json_lines_refuse_row_by_row(with_store: Settings, tmp_path: Path) -> None:
    good = {"user_id": 1, "item_id": 2, "event_type": "like", "timestamp": 1700000000}
    rows = ["{", "[]", json.dumps({**good, "mood": 1}), json.dumps({**good, "user_id": True}), json.dumps(good)]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(rows))
    done, report = await import_events(with_store, file)
    assert (done.recorded, done.refused) == (1, 4)
    assert [json.loads(line)["row"] for line in report.read_text().splitlines()] == [1, 2, 3, 4]


def test_help_and_documentation_name_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    page = (PROJECT_DIR / "docs/own-data.md").read_text()
    assert "jobs.import_events" in page
    for name in FIELDS:
        assert re.search(rf"\b{name}\b", told)
        assert f"`{name}`" in page

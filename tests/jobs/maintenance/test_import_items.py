import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.settings import PROJECT_DIR, Settings
from data.dataset import DataError
from features.items.attribute_schema import declare_attributes
from features.items.catalogue import Item, put_items, read_item
from features.recording.online_store import OnlineStore
from features.users.user_attributes import read_user_attributes
from jobs.maintenance.import_items import import_items, main

pytestmark = pytest.mark.anyio
KETTLE = {"item_id": "007", "title": "Kettle, blue", "categories": ["Kitchen", "Tea"], "year": 2020, "brand": "Acme",
          "colours": ["blue", "dark blue"], "price": 12.5, "new": True, "since": "2026-01-31",
          "meaning": [0.5, -2.0]}  # fmt: skip
PLAIN = {"item_id": "a/b", "title": "Plain", "hidden": True}


@pytest.fixture
def declared(with_store: Settings) -> Settings:
    data = with_store.data.model_copy(
        update={
            "item_attributes": {
                "brand": "keyword", "colours": "keywords", "price": "number", "new": "flag", "since": "time",
                "meaning": "vector",
            },
            "user_attributes": {"age": "number", "town": "keyword"},
        }
    )  # fmt: skip
    return with_store.model_copy(update={"data": data})


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        flat = [{name: "|".join(map(str, v)) if isinstance(v, list) else v for name, v in row.items()} for row in rows]
        pd.DataFrame(flat).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
async def test_every_format_gives_the_same_items(
    declared: Settings, store: OnlineStore, tmp_path: Path, kind: str
) -> None:
    await put_items(store.client, store.keys, [Item("a/b", "Before", created_ms=5), Item("other", "Stays")])
    done, report = await import_items(declared, written(tmp_path / f"items{kind}", [KETTLE, PLAIN]))
    assert (done.rows, done.put, report.read_text()) == (2, 2, "")
    kettle, plain, other = [await read_item(store.client, store.keys, item) for item in ("007", "a/b", "other")]
    assert kettle is not None
    assert plain is not None
    assert other is not None
    assert (kettle.title, kettle.categories, kettle.year, kettle.hidden) == (
        "Kettle, blue", ("Kitchen", "Tea"), 2020, False
    )  # fmt: skip
    assert kettle.attributes == {
        "brand": "Acme", "colours": ["blue", "dark blue"], "price": 12.5, "new": True, "since": 1_769_817_600_000,
        "meaning": [0.5, -2.0],
    }  # fmt: skip
    assert (plain.title, plain.hidden, plain.created_ms, plain.attributes) == ("Plain", True, 5, {})
    assert other.title == "Stays"


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
async def test_users_are_described_by_a_file(declared: Settings, store: OnlineStore, tmp_path: Path, kind: str) -> None:
    rows = [{"user_id": "u1", "age": 33, "town": "Ghent"}, {"user_id": "u2", "town": "Bruges"}]
    done, _ = await import_items(declared, written(tmp_path / f"users{kind}", rows), users=True)
    assert done.put == 2
    found = [await read_user_attributes(store.client, store.keys, user) for user in ("u1", "u2")]
    assert found == [{"age": 33, "town": "Ghent"}, {"town": "Bruges"}]


async def test_refused_rows_are_reported_with_row_column_and_reason(
    declared: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    lines = [
        "item_id;title;categories;year;hidden;brand;colours;price;new;since".replace(";", ","),
        "1,Good,a|b,1990,false,x,red,1,0,2026-01-31",
        "2,,a,,,,,,,",
        "3,Year,,soon,,,,,,",
        "4,Price,,,,,,dear,,",
        "5,Flag,,,,,,,perhaps,",
        "6,Time,,,,,,,,1066-10-14",
        f"7,Brand,,,,{'x' * 61},,,,",
        f"8,Colours,,,,,{'|'.join(str(n) for n in range(51))},,,",
        "9,Hidden,,,maybe,,,,,",
        "10.0,Id,,,,,,,,",
        "11,More,,,,,,,,,more",
        f"12,Category,{'x' * 61},,,,,,,",
        ",No id,,,,,,,,",
        "13,Also good,,,,,,,,",
    ]
    file = tmp_path / "items.csv"
    file.write_text("\n".join(lines) + "\n")
    done, report = await import_items(declared, file)
    refused = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(row["row"], row["column"]) for row in refused] == [
        (2, "title"), (3, "year"), (4, "price"), (5, "new"), (6, "since"), (7, "brand"), (8, "colours"),
        (9, "hidden"), (10, "item_id"), (11, None), (12, "categories"), (13, "item_id"),
    ]  # fmt: skip
    assert "must be a number, not 'dear'" in refused[2]["reason"]
    assert (done.put, done.refused) == (2, 12)
    assert await read_item(store.client, store.keys, "13") is not None
    assert await read_item(store.client, store.keys, "4") is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "item_id,title,colour\n1,t,red\n", "unknown column 'colour'; known are item_id, title, categories"),
        ("a.csv", "item_id,title,title\n1,t,t\n", "two columns are called 'title'"),
        ("a.csv", "", "it is empty"),
        ("a.xlsx", "x", "a file of this kind cannot be read: save it as CSV, or give .csv"),
        ("a.parquet", "x", "no whole Parquet file"),
    ],
)
async def test_a_file_that_holds_no_items_is_refused_before_anything_is_put(
    declared: Settings, tmp_path: Path, name: str, content: str, words: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(DataError, match=words):
        await import_items(declared, file)
    with pytest.raises(DataError, match="no such file"):
        await import_items(declared, tmp_path / "none.csv")


@pytest.mark.parametrize("kind", ["items.csv.gz", "items.tsv", "items.csv", "folder", "shop.db"])
async def test_what_make_up_reads_is_imported(
    declared: Settings, store: OnlineStore, tmp_path: Path, kind: str
) -> None:
    """Commas alone were read, and neither packed files nor folders."""
    rows = [["item_id", "title", "price"], ["a", "Tea; green", "2.5"], ["b", "Mug", "dear"]]
    path, address = tmp_path / kind, str(tmp_path / kind)

    def text(separator: str, part: list[list[str]]) -> str:
        return "".join(separator.join(f'"{cell}"' for cell in row) + "\n" for row in part)

    if kind == "folder":
        path.mkdir()
        (path / "1.csv").write_text(text(";", rows[:2]))
        (path / "2.csv").write_text(text(",", [rows[0], rows[2]]))
    elif kind == "shop.db":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE items (item_id TEXT, title TEXT, price TEXT)")
            database.executemany("INSERT INTO items VALUES (?, ?, ?)", rows[1:])
        database.close()
        address = f"sqlite://{path}#items"
    elif kind.endswith(".gz"):
        path.write_bytes(gzip.compress(text(",", rows).encode()))
    else:
        path.write_text(text({".tsv": "\t", ".csv": ";"}[path.suffix], rows))
    done, report = await import_items(declared, address)
    assert (done.put, done.refused) == (1, 1)
    told = json.loads(report.read_text())
    assert (told.get("file"), told["row"], told["column"]) == (
        ("2.csv", 1, "price") if kind == "folder" else (None, 2, "price")
    )
    tea = await read_item(store.client, store.keys, "a")
    assert tea is not None
    assert (tea.title, tea.attributes) == ("Tea; green", {"price": 2.5})


async def test_columns_of_other_names_are_guessed_and_shown_or_mapped(
    declared: Settings, store: OnlineStore, tmp_path: Path
) -> None:
    file, map_file = tmp_path / "products.csv", tmp_path / "map.yaml"
    file.write_text(
        "sku;name;size;category;price;weight;new\n7;Tea;big;Hot|Dry;2,50;3;yes\n8;;;;x;4\n9;Mug;;Cup;1,00;5\n"
        + "".join(f"m{n};More;;Cup;1,0{n};6\n" for n in range(9))
    )
    shown: list[str] = []
    done, report = await import_items(declared, file, show=shown.append)
    assert any(line.split()[:3] == ["item_id", "<-", "sku"] for line in shown)
    assert any("left out" in line and "weight" in line for line in shown)
    assert (done.put, done.refused) == (11, 1)
    assert (json.loads(report.read_text())["row"], json.loads(report.read_text())["column"]) == (2, "price")
    map_file.write_text(
        "items:\n  item_id: sku\n  title: [name, size]\n  categories: {column: category, separator: '|'}\n"
        "  attributes: {price: {type: number, decimal: ','}, new: flag}\n"
    )
    await import_items(declared, file, map_file=map_file)
    tea = await read_item(store.client, store.keys, "7")
    assert tea is not None
    # What make up reads as a flag is one here too.
    assert (tea.title, tea.categories) == ("Tea big", ("Hot", "Dry"))
    assert tea.attributes == {"price": 2.5, "new": True}
    map_file.write_text("items:\n  item_id: sku\n  attributes: {weight: number}\n")
    with pytest.raises(DataError, match=r"items\.attributes\.weight: neither the settings nor the data set declare it"):
        await import_items(declared, file, map_file=map_file)


async def test_a_line_that_is_no_object_is_refused_alone(declared: Settings, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"item_id": 1, "title": "t", "attributes": {"brand": "x"}, "price": 2}\n[1]\n{"item\n'
                    '{"item_id": 2, "title": "t", "size": 3}\n{"item_id": 3, "title": "\\ud83c"}\n')  # fmt: skip
    done, report = await import_items(declared, file)
    refused = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(row["row"], row["column"]) for row in refused] == [(2, None), (3, None), (4, "size"), (5, "title")]
    assert done.put == 1


async def test_settings_that_change_a_type_are_refused(declared: Settings, store: OnlineStore, tmp_path: Path) -> None:
    await declare_attributes(store.client, store.keys, {"price": "text"}, {}, "the test")
    with pytest.raises(DataError, match="of the settings: price is a number, and the store holds it as text"):
        await import_items(declared, written(tmp_path / "items.csv", [KETTLE]))


def test_the_command_tells_what_it_did(
    with_store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(with_store.state_dir))
    monkeypatch.setenv("REDIS_URL", with_store.store_url)
    monkeypatch.setenv("RAYCOMMEND_STORE_PREFIX", with_store.store.prefix)
    file = tmp_path / "items.csv"
    file.write_text("item_id,title,categories\n1,One,a;b\n,Two,\n")
    assert main([str(file), "--separator", ";"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 items put, 1 rows refused\nreasons: ")
    assert json.loads(Path(out.split("reasons: ")[1].strip()).read_text())["column"] == "item_id"
    assert main([str(tmp_path / "none.csv")]) == 1
    assert (PROJECT_DIR / "jobs" / "import_items.py").is_file()

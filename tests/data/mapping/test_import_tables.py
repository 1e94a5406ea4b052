"""From a file of anyone's to a data set: the guess, the map, what is refused, and what stops everything."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset import DataError, load_dataset, read_meta
from data.fields.frames import frame_attributes
from data.mapping.import_tables import ImportedTables, import_tables
from data.mapping.plan import Sources, UnclearMap, make_plan
from data.prepare import told

SHOP = "customer;sku;order_date;amount\n" + "".join(
    f"c{n % 7};s{n % 5};2026-01-{n % 28 + 1:02};{n}.5\n" for n in range(60)
)


def run(folder: Path, sources: Sources) -> ImportedTables:
    return import_tables(make_plan(sources), folder / "processed", folder / "refused.jsonl")


def write(folder: Path, text: str, name: str = "orders.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_orders_of_a_shop_are_understood(tmp_path: Path) -> None:
    plan = make_plan(Sources(write(tmp_path, SHOP)))
    events = plan.chosen.interactions
    assert (events.user_id, events.item_id, events.time.column) == ("customer", "sku", "order_date")
    assert events.event_type.constant == "purchase"
    assert "user_id     <- customer" in "\n".join(plan.lines)
    found = run(tmp_path, plan.sources)
    assert (found.meta.n_interactions, found.meta.n_users, found.meta.n_items, found.refusals.rows) == (60, 7, 5, 0)
    data = load_dataset(tmp_path / "processed")
    assert data.interactions.iloc[3].tolist() == ["c3", "s3", "purchase", 3.5, 1767484800000]
    assert (tmp_path / "processed" / "map.yaml").read_text() == plan.chosen.text()


def test_the_kept_map_gives_the_same_data_set(tmp_path: Path) -> None:
    events = write(tmp_path, SHOP)
    first = run(tmp_path, Sources(events)).meta
    kept = tmp_path / "map.yaml"
    kept.write_text((tmp_path / "processed" / "map.yaml").read_text())
    assert run(tmp_path, Sources(events, map=kept)).meta.fingerprint == first.fingerprint


def test_refused_rows_are_told_with_row_column_and_reason_and_the_others_are_kept(tmp_path: Path) -> None:
    bad = ["c1;s1;soon;1", ";s1;2026-01-01;1", "c1;NA;2026-01-01;1", "c1;s1;2026-01-01;much", "c1;s1;2026-01-01;1;2;3"]
    found = run(tmp_path, Sources(write(tmp_path, SHOP + "\n".join(bad) + "\n")))
    assert found.meta.n_interactions == 60
    told = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert sorted((one["row"], one["column"]) for one in told if one["column"]) == [
        (62, "order_date"),
        (63, "customer"),
        (64, "sku"),
        (65, "amount"),
    ]
    assert {one["row"]: one["reason"] for one in told}[66] == "6 values, and the header names 4 columns"
    assert found.refusals.rows == 5


def test_items_and_users_come_with_their_attributes(tmp_path: Path) -> None:
    items = write(
        tmp_path,
        "sku,name,category,price,vegan,colours,colour\n"
        "s0,Soap,Home|Bath,2.5,yes,red|blue,red\ns1,Tea,Drinks,cheap,no,,blue\ns9,Cup,Home|Bath,1,no,red|blue,red\n"
        "s0,Again,,1,no,,red\n",
        "items.csv",
    )
    users = write(tmp_path, "customer,age\nc1,30\nc2,41\n", "users.csv")
    found = run(tmp_path, Sources(write(tmp_path, SHOP), items, users))
    data = load_dataset(tmp_path / "processed")
    assert found.meta.item_attributes == {
        "price": "keyword",
        "vegan": "flag",
        "colours": "keywords",
        "colour": "keyword",
    }
    assert found.meta.user_attributes == {"age": "number"}
    by_id = data.items.set_index("item_id")
    assert by_id.loc["s0", ["title", "vegan"]].tolist() == ["Soap", True]
    assert by_id.loc["s0", "categories"] == ["Home", "Bath"]
    assert by_id.loc["s4", "title"] == "s4"
    assert found.refusals.first == [f"{items}: row 5, column sku: 's0' appears twice, first in row 2"]
    assert len(data.users) == 7


def test_vectors_of_a_column_have_one_length(tmp_path: Path) -> None:
    cells = ["[0.5, -1]", "1 2.25", "1;2;3", "1 2 3", "", "0.1 x"]
    rows = "".join(f's{n},"{cell}"\n' for n, cell in enumerate(cells))
    items = write(tmp_path, f"sku,meaning\n{rows}", "items.csv")
    chosen = tmp_path / "m.yaml"
    chosen.write_text("items: {attributes: {meaning: vector}}")
    found = run(tmp_path, Sources(write(tmp_path, SHOP), items, map=chosen))
    assert found.meta.item_attributes == {"meaning": "vector"}
    kept = pq.read_table(tmp_path / "processed" / "items.parquet")["meaning"].to_pylist()
    assert kept[: len(cells)] == [[0.5, -1.0], [1.0, 2.25], None, None, None, None]
    assert (found.refusals.rows, found.refusals.cells) == (0, 3)
    assert "row 4, column meaning: must be a list of numbers, not '1;2;3'" in found.refusals.first[0]
    assert "row 5, column meaning: has 3 numbers, the first one 2" in found.refusals.first[1]


def test_a_column_of_lists_of_numbers_is_taken_for_vectors(tmp_path: Path) -> None:
    table = pa.table({"sku": ["s0", "s1"], "meaning": pa.array([[0.1, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))})
    pq.write_table(table, tmp_path / "items.parquet")
    found = run(tmp_path, Sources(write(tmp_path, SHOP), str(tmp_path / "items.parquet")))
    assert found.meta.item_attributes == {"meaning": "vector"}
    data = load_dataset(tmp_path / "processed")
    described = dict(zip(data.items["item_id"], frame_attributes(data.items, data.item_attributes), strict=True))
    assert described["s0"] == {"meaning": [0.1, 2.0]}
    assert described["s4"] == {}


def test_a_cell_of_another_type_costs_the_cell_and_not_the_item(tmp_path: Path) -> None:
    items = write(tmp_path, "sku,price\ns0,2.5\ns1,cheap\n", "items.csv")
    chosen = tmp_path / "m.yaml"
    chosen.write_text("items: {attributes: {price: number}}")
    found = run(tmp_path, Sources(write(tmp_path, SHOP), items, map=chosen))
    price = pq.read_table(tmp_path / "processed" / "items.parquet")["price"].to_pylist()
    assert price == [2.5, None, None, None, None]
    assert (found.refusals.rows, found.refusals.cells) == (0, 1)
    assert "row 3, column price: is not a number" in found.refusals.first[0]


def test_cells_that_are_left_out_are_counted_as_cells(tmp_path: Path) -> None:
    """Regression: two cells of one item were two rows of the catalogue."""
    items = write(tmp_path, "sku,price,weight\ns0,2.5,1\ns1,cheap,light\n", "items.csv")
    chosen = tmp_path / "m.yaml"
    chosen.write_text("items: {attributes: {price: number, weight: number}}")
    found = run(tmp_path, Sources(write(tmp_path, SHOP), items, map=chosen))
    assert "refused: 0 rows; 2 cells of the catalogue, whose rows are kept" in told(found)


def test_amounts_below_0_are_told_with_what_to_do(tmp_path: Path) -> None:
    """Regression: cancellations counted as purchases without a word."""
    rows = "".join(f"c{n % 7};s{n % 5};2026-01-{n % 28 + 1:02};{-1 if n % 10 == 0 else 2};{n}\n" for n in range(60))
    orders = write(tmp_path, "customer;sku;order_date;quantity;amount\n" + rows)
    plan = make_plan(Sources(orders))
    told_first = [line for line in plan.lines if "quantity is below 0 in 6 of the first 60 rows; cancellations" in line]
    assert len(told_first) == 1
    chosen = tmp_path / "m.yaml"
    chosen.write_text("interactions: {value: quantity}")
    notes = run(tmp_path, Sources(orders, map=chosen)).notes
    assert any("6 events of type purchase have a value below 0 and count like the others; canc" in one for one in notes)
    assert not any("below 0" in one for one in run(tmp_path, Sources(orders)).notes)


def test_words_of_event_types_are_mapped_and_unknown_ones_stop_with_what_to_write(tmp_path: Path) -> None:
    rows = [f"v{n % 7},{n % 5},{1_700_000_000 + n},{'view' if n % 3 else 'buy'}" for n in range(60)]
    text = "visitorid,itemid,timestamp,event\n" + "\n".join(rows) + "\n"
    found = run(tmp_path, Sources(write(tmp_path, text, "e.csv")))
    assert load_dataset(tmp_path / "processed").interactions["event_type"].value_counts().to_dict() == {
        "view": 40,
        "purchase": 20,
    }
    assert (found.meta.user_id_type, found.meta.item_id_type) == ("str", "int")
    with pytest.raises(UnclearMap) as unclear:
        make_plan(Sources(write(tmp_path, text + "v1,1,1700000000,zap\n", "f.csv")))
    answer = str(unclear.value)
    assert "it is not clear what zap means" in answer
    own = tmp_path / "map.yaml"
    lines = answer.split("for example\n")[1].split("\nand give it")[0].split("\n")
    own.write_text("\n".join(line[2:] for line in lines))
    assert run(tmp_path, Sources(str(tmp_path / "f.csv"), map=own)).left_out == {"zap": 1}
    own.write_text("interactions: {event_type: {column: event, map: {purchase: buy, click: [zap]}}}")
    assert run(tmp_path, Sources(str(tmp_path / "f.csv"), map=own)).meta.n_interactions == 61


def test_our_own_words_need_no_map_and_no_value(tmp_path: Path) -> None:
    rows = [f"u{n % 3},i{n % 4},like,{1_700_000_000 + n}\n" for n in range(20)]
    text = "user_id,item_id,event_type,timestamp\n" + "".join(rows)
    assert run(tmp_path, Sources(write(tmp_path, text, "events.csv"))).meta.n_interactions == 20


def test_ids_that_went_through_decimals_are_refused_with_the_remedy(tmp_path: Path) -> None:
    text = "user_id,item_id,event_type,timestamp\n" + "196.0,i1,like,1700000000\n197.0,i2,like,1700000001\n"
    with pytest.raises(DataError, match=r"column user_id: 196\.0 is a number with decimals and no id: write whole"):
        run(tmp_path, Sources(write(tmp_path, text, "events.csv")))


def test_ratings_of_another_scale_are_brought_to_ours(tmp_path: Path) -> None:
    text = "user,movie,rating,date\n" + "".join(
        f"u{n % 5},m{n % 4},{n % 10 + 1},2026-02-0{n % 9 + 1}\n" for n in range(40)
    )
    run(tmp_path, Sources(write(tmp_path, text)))
    data = load_dataset(tmp_path / "processed")
    assert data.meta.preset == "movies"
    assert (data.interactions["value"].min(), data.interactions["value"].max()) == (0.5, 5.0)


def test_without_trustworthy_times_the_data_set_says_so(tmp_path: Path) -> None:
    without = write(tmp_path, "customer,sku\n" + "".join(f"c{n % 7},s{n % 5}\n" for n in range(30)), "orders.csv")
    assert not run(tmp_path, Sources(without)).meta.time_trusted
    times = load_dataset(tmp_path / "processed").interactions["timestamp_ms"]
    assert times.is_monotonic_increasing
    at_once = "customer,sku,date\n" + "".join(f"c{n % 7},s{n % 5},2026-01-01\n" for n in range(30))
    assert not run(tmp_path, Sources(write(tmp_path, at_once))).meta.time_trusted
    assert run(tmp_path, Sources(write(tmp_path, SHOP))).meta.time_trusted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n1,2,3\n", r"no column's name says that it holds the user_id"),
        ("customer,client_id,sku,date\n1,2,3,2026-01-01\n", "customer and client_id may both be the user_id"),
        ("customer,sku,date,amount\n" + "c1,s1,2026-01-01,1\nc1,s2,2026-01-02,1\n" * 3, "all events are of one user"),
        ("customer,sku,date,amount\n" + "c1,s1,2026-01-01,1\nc2,s1,2026-01-02,1\n" * 3, "all events are of one item"),
        ("customer,sku,date,amount\n" + "c1,s1,2026-01-01,1\n" + "c1,NA,2026-01-01,2\n" * 3, "more than half"),
        ("customer,sku,date,amount\n", r"has no rows, only the names of columns \(customer, sku, date, amount\)"),
        ("customer,sku,date,amount\n" + "c1,s1,soon,1\n", "date is called a time, and soon cannot be read as one"),
        ("customer,sku,date,amount\n" + "c1,s1,2026-01-01 10:00 CET,1\n", "say its FORMAT, as in"),
        ("customer,sku,date,amount\n" + "c1,s1,0001-01-01,1\n", "0001-01-01 cannot be read as one from 1990 on"),
        ("customer,sku,timestamp,amount\n" + "c1,s1,-1700000000,1\n", "-1700000000 cannot be read as one"),
        ("customer,sku,date,amount\nc1,s1,03/04/26,1\n", "can be read in several ways"),
        ("customer,sku\n1,a,b\n", "has no rows that can be read: row 2: 3 values, and the header names 2 columns"),
        ("customer,sku,date,amount\nc1,s1,03/04/2026,1\n", "can be read in several ways"),
    ],
)
def test_what_cannot_be_imported_is_named_and_nothing_is_written(tmp_path: Path, text: str, words: str) -> None:
    run(tmp_path, Sources(write(tmp_path, SHOP)))
    before = read_meta(tmp_path / "processed")
    with pytest.raises(DataError, match=words):
        run(tmp_path, Sources(write(tmp_path, text)))
    assert read_meta(tmp_path / "processed") == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["processed"]


def test_two_items_and_mixed_ids_are_enough(tmp_path: Path) -> None:
    text = "customer,sku,date,amount\n" + "".join(
        f"{n % 3},{('7', '007')[n % 2]},2026-01-0{n + 1},1\n" for n in range(9)
    )
    meta = run(tmp_path, Sources(write(tmp_path, text))).meta
    assert (meta.n_items, meta.item_id_type, meta.user_id_type) == (2, "str", "int")


def test_five_thousand_categories_and_too_many_in_one_cell(tmp_path: Path) -> None:
    events = "customer,sku,date,amount\n" + "".join(f"c{n % 9},s{n},2026-01-01,1\n" for n in range(5000))
    cells = ["|".join(f"k{k}" for k in range(5000)), *(f"k{n}|x" for n in range(1, 5000))]
    items = "sku,categories\n" + "".join(f"s{n},{cell}\n" for n, cell in enumerate(cells))
    sources = Sources(write(tmp_path, events), write(tmp_path, items, "items.csv"))
    found = run(tmp_path, sources)
    data = load_dataset(tmp_path / "processed")
    assert len(data.items["categories"][0]) == 20
    assert len({name for names in data.items["categories"] for name in names}) == 5001
    assert found.refusals.cells == 1


def test_items_that_describe_nothing_of_the_events_are_refused(tmp_path: Path) -> None:
    items = write(tmp_path, "sku,name\nx1,Soap\nx2,Tea\n", "items.csv")
    with pytest.raises(DataError, match="it describes not one item of the events"):
        run(tmp_path, Sources(write(tmp_path, SHOP), items))


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, Sources(write(tmp_path, SHOP)))
    before = read_meta(tmp_path / "processed")

    def full(*given: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match="the disk is full: make room"):
        run(tmp_path, Sources(write(tmp_path, SHOP + "c1;s1;2026-01-01;1\n")))
    assert read_meta(tmp_path / "processed") == before


def test_the_same_table_in_every_form_is_one_data_set(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "customer": [f"c{n % 7}" for n in range(60)],
            "sku": [n % 5 for n in range(60)],
            "order_date": pd.date_range("2026-01-01", periods=60, freq="h"),
            "amount": [n / 2 for n in range(60)],
        }
    )
    frame.to_csv(tmp_path / "orders.csv", index=False)
    frame.to_csv(tmp_path / "orders.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "orders.parquet")
    frame.to_json(tmp_path / "orders.jsonl", orient="records", lines=True, date_format="iso")
    found = {run(tmp_path, Sources(str(path))).meta.fingerprint for path in tmp_path.glob("orders.*")}
    assert len(list(tmp_path.glob("orders.*"))) == 4
    assert len(found) == 1


def test_a_map_that_does_not_fit_names_the_field(tmp_path: Path) -> None:
    own = tmp_path / "map.yaml"
    for text, words in (
        ("interactions: {user_id: nobody}", "interactions.user_id: .* has no column 'nobody'; it has customer"),
        ("interactions: {event_type: {constant: buyy}}", "'buyy' is no event type"),
        ("interactions: {who: customer}", "unknown field 'interactions.who'"),
        ("events: {}", "events: is no part of a map"),
        ("a: [", "not valid YAML"),
        ("preset: cars", "there is no preset 'cars'; there are courses"),
    ):
        own.write_text(text)
        with pytest.raises(DataError, match=words):
            run(tmp_path, Sources(write(tmp_path, SHOP), map=own))

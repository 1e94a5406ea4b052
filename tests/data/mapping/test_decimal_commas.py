"""Numbers with a decimal comma, and columns and event types whose rows would be lost."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset import DataError, load_dataset
from data.mapping.conversions import numbers
from data.mapping.import_tables import ImportedTables, import_tables
from data.mapping.plan import Sources, make_plan
from data.mapping.sample import Sample


def run(folder: Path, sources: Sources) -> ImportedTables:
    return import_tables(make_plan(sources), folder / "processed", folder / "refused.jsonl")


def write(folder: Path, text: str, name: str = "orders.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    ("cells", "sign"),
    [
        (["95,01", "1,5", "7"], ","),
        (["1.234,5", "12.345.678", "3,25"], ","),
        (["0,125"], ","),
        (["1,234", "5,678"], None),
        (["9,99", "9.99"], None),
        (["9.99", "1"], None),
        (["red,1", "blue"], None),
    ],
)
def test_the_decimal_sign_is_that_of_nearly_all_cells_and_only_where_it_is_clear(
    cells: list[str], sign: str | None
) -> None:
    assert Sample("a.csv", ["price"], pa.table({"price": cells}), {}).decimal("price") == sign


def test_numbers_with_a_decimal_comma_have_points_between_thousands_and_nowhere_else() -> None:
    found, faults = numbers(pa.chunked_array([["1.234,5", "+95,01", "-3", "", "9.99", "1,2,3"]]), ",")
    np.testing.assert_array_equal(found, [1234.5, 95.01, -3, np.nan, np.nan, np.nan])
    assert sorted(faults) == [4, 5]


def test_decimal_commas_of_values_and_attributes_are_numbers(tmp_path: Path) -> None:
    rows = "".join(f"c{n % 7};s{n % 5};2026-01-{n % 28 + 1:02};1.0{n:02},5\n" for n in range(60))
    items = "sku;price;size\n" + "".join(f's{n};"{n},99";1,2{n}\n' for n in range(5))
    events, items = write(tmp_path, f"customer;sku;date;amount\n{rows}"), write(tmp_path, items, "items.csv")
    run(tmp_path, Sources(events, items))
    data = load_dataset(tmp_path / "processed")
    assert data.interactions["value"].max() == 1059.5
    assert data.items["price"].tolist() == [0.99, 1.99, 2.99, 3.99, 4.99]
    kept = (tmp_path / "processed" / "map.yaml").read_text()
    own = tmp_path / "own.yaml"
    own.write_text(kept)
    assert "decimal: ','" in kept
    assert run(tmp_path, Sources(events, items, map=own)).meta.fingerprint == data.meta.fingerprint
    own.write_text("interactions: {value: amount}\nitems: {attributes: {price: number}}")
    run(tmp_path, Sources(events, items, map=own))
    assert pq.read_table(tmp_path / "processed" / "items.parquet")["price"].to_pylist()[1] == 1.99


def test_an_event_type_that_would_lose_most_of_its_rows_stops_the_import(tmp_path: Path) -> None:
    rows = [f"u{n % 7},i{n % 5},2026-01-01,{'view' if n % 10 else 'rating'},{n}\n" for n in range(60)]
    own = tmp_path / "own.yaml"
    own.write_text("interactions: {value: stars}")
    events = write(tmp_path, "user,item,date,event,stars\n" + "".join(rows))
    with pytest.raises(DataError, match=r"6 of 6 rows of type rating were refused; .*scale"):
        run(tmp_path, Sources(events, map=own))
    assert not (tmp_path / "processed").exists()


def test_a_value_column_that_would_lose_most_of_its_cells_stops_the_import(tmp_path: Path) -> None:
    rows = [f"u{n % 7},i{n % 5},2026-01-01,purchase,{'' if n % 10 else 2_000_000_000}\n" for n in range(60)]
    own = tmp_path / "own.yaml"
    own.write_text("interactions: {value: paid}")
    with pytest.raises(DataError, match="column paid: 6 of 6 values were refused"):
        run(tmp_path, Sources(write(tmp_path, "user,item,date,event,paid\n" + "".join(rows)), map=own))


def test_a_value_on_a_column_without_numbers_is_named(tmp_path: Path) -> None:
    rows = [f"u{n % 7},i{n % 5},2026-01-01,purchase,red\n" for n in range(60)]
    own = tmp_path / "own.yaml"
    own.write_text("interactions: {value: paid}")
    with pytest.raises(DataError, match=r"interactions\.value: .*column paid does not hold numbers but red"):
        run(tmp_path, Sources(write(tmp_path, "user,item,date,event,paid\n" + "".join(rows)), map=own))


def test_a_number_whose_column_is_not_clear_stops_until_the_map_says_the_sign(tmp_path: Path) -> None:
    rows = "".join(f"c{n % 7};s{n % 5};2026-01-01;1\n" for n in range(60))
    items = "sku;price\n" + "".join(f"s{n};{n + 1},250\n" for n in range(5))
    events, items = write(tmp_path, f"customer;sku;date;amount\n{rows}"), write(tmp_path, items, "items.csv")
    own = tmp_path / "own.yaml"
    own.write_text("items: {attributes: {price: number}}")
    with pytest.raises(DataError, match=r"attributes\.price: .*does not hold numbers but 1,250.* decimal"):
        run(tmp_path, Sources(events, items, map=own))
    own.write_text("items: {attributes: {price: {type: number, decimal: ','}}}")
    run(tmp_path, Sources(events, items, map=own))
    assert load_dataset(tmp_path / "processed").items["price"].tolist() == [1.25, 2.25, 3.25, 4.25, 5.25]


def test_columns_of_other_kinds_than_texts_have_no_decimal_sign() -> None:
    table = pa.table({"a": [{"x": "1,5"}], "b": [1.5], "c": [["1,5"]]})
    sample = Sample("a.parquet", table.column_names, table, {})
    assert [sample.decimal(column) for column in table.column_names] == [None, None, None]

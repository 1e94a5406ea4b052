"""What a guess makes of columns of few words, of ids with decimals, and of names in upper case."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset import DataError
from data.mapping.plan import Sources, UnclearMap, make_plan


def write(folder: Path, text: str, name: str = "orders.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def shop(column: str, words: list[str]) -> str:
    rows = "".join(f"c{n % 7};s{n % 5};2026-01-{n % 28 + 1:02};{words[n % len(words)]};{n}.5\n" for n in range(60))
    return f"customer;sku;date;{column};amount\n{rows}"


@pytest.mark.parametrize("column", ["kind", "Action", "typ", "art", "was", "status", "user_action"])
def test_a_column_of_few_words_may_be_the_event_type_and_stops_the_guess(tmp_path: Path, column: str) -> None:
    with pytest.raises(UnclearMap) as unclear:
        make_plan(Sources(write(tmp_path, shop(column, ["Ansicht", "Warenkorb", "Kauf"]))))
    answer = str(unclear.value)
    assert f"{column.lower()} (Ansicht, Warenkorb, Kauf) may say what happened" in answer
    assert "TYPE_3:\n        - Kauf" in answer
    own = tmp_path / "own.yaml"
    own.write_text("interactions: {event_type: {constant: view}}")
    assert make_plan(Sources(str(tmp_path / "orders.csv"), map=own)).chosen.interactions.event_type.constant == "view"


@pytest.mark.parametrize("column", ["kind", "action", "was", "x", "what_they_did"])
def test_a_column_whose_words_are_all_types_is_the_event_type_whatever_it_is_called(
    tmp_path: Path, column: str
) -> None:
    """Regression: it was asked for where its name does not say so."""
    chosen = make_plan(Sources(write(tmp_path, shop(column, ["view", "Buy", "add-to-cart"])))).chosen.interactions
    assert chosen.event_type.column == column
    assert chosen.event_type.map == {"purchase": ["Buy"], "add_to_cart": ["add-to-cart"]}


@pytest.mark.parametrize("column", ["action", "event", "was", "x"])
def test_a_word_among_known_ones_that_is_not_known_is_asked_for_by_name(tmp_path: Path, column: str) -> None:
    with pytest.raises(UnclearMap, match="it is not clear what refund means") as unclear:
        make_plan(Sources(write(tmp_path, shop(column, ["view", "buy", "refund"]))))
    assert "leave_out:\n      - refund" in str(unclear.value)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("order_status", ["open", "complete"]),
        ("x", ["complete", "save"]),
        ("x", ["purchase", "alpha", "beta"]),
        ("x", ["view", "buy", "alpha", "beta"]),
    ],
)
def test_words_that_may_be_something_else_are_asked_for(tmp_path: Path, column: str, words: list[str]) -> None:
    with pytest.raises(UnclearMap, match=rf"{column} \({', '.join(words)}\) may say what happened"):
        make_plan(Sources(write(tmp_path, shop(column, words))))


def test_a_type_that_needs_a_value_where_there_is_none_is_asked_for(tmp_path: Path) -> None:
    rows = "".join(f"c{n % 7},s{n % 5},2026-01-01,{('view', 'play')[n % 2]}\n" for n in range(20))
    events = write(tmp_path, "customer,sku,date,event\n" + rows)
    with pytest.raises(UnclearMap, match=r"event_type: an event watch needs a value \(seconds\)") as unclear:
        make_plan(Sources(events))
    own = tmp_path / "own.yaml"
    lines = str(unclear.value).split("for example\n")[1].split("\nand give it")[0].split("\n")
    own.write_text("\n".join(line[2:] for line in lines))
    kind = make_plan(Sources(events, map=own)).chosen.interactions.event_type
    assert (kind.column, kind.map, kind.leave_out) == ("event", {}, ["play"])


def test_two_columns_of_types_are_asked_for(tmp_path: Path) -> None:
    rows = "".join(f"c{n % 7},s{n % 5},{('view', 'buy')[n % 2]},{('click', 'like')[n % 2]}\n" for n in range(20))
    with pytest.raises(UnclearMap, match=r"x \(view, buy\) and y \(click, like\) may say what happened"):
        make_plan(Sources(write(tmp_path, "customer,sku,x,y\n" + rows)))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("country", ["AT", "DE"]),
        ("category", ["Tea", "Bread"]),
        ("product_type", ["Tea", "Bread"]),
        ("gift", ["yes", "no"]),
        ("note", ["", "", "", "late"]),
    ],
)
def test_a_column_that_says_something_else_does_not_stop_the_guess(
    tmp_path: Path, column: str, words: list[str]
) -> None:
    plan = make_plan(Sources(write(tmp_path, shop(column, words))))
    assert plan.chosen.interactions.event_type.constant == "purchase"


def test_ids_with_decimals_are_named_with_the_remedy(tmp_path: Path) -> None:
    rows = "".join(f"{n % 7}.0,{n % 5},{1_700_000_000 + n}\n" for n in range(60))
    with pytest.raises(DataError, match=r'column customer: 0\.0 is a number with decimals .* astype\("Int64"\)'):
        make_plan(Sources(write(tmp_path, "customer,sku,timestamp\n" + rows, "views.csv")))


def test_a_map_names_columns_as_the_header_does(tmp_path: Path) -> None:
    events = write(tmp_path, shop("Kind", ["Kauf", "Ansicht"]).replace("customer", "Customer"))
    items = write(tmp_path, "SKU;Name;Preis\ns1;Tea;1\n", "items.csv")
    own = tmp_path / "own.yaml"
    own.write_text(
        "interactions: {user_id: Customer, event_type: {column: Kind, map: {view: Ansicht, like: Kauf}}}\n"
        "items: {item_id: SKU, title: [Name], attributes: {price: {type: number, column: Preis}}}"
    )
    plan = make_plan(Sources(events, items, map=own))
    assert plan.chosen.interactions.event_type.column == "kind"
    assert plan.chosen.items is not None
    assert plan.chosen.items.attributes["price"].column == "preis"
    own.write_text("items: {attributes: {price: number}}")
    with pytest.raises(DataError, match=r"items\.attributes\.price: .* has no column 'price'; it has sku, name, preis"):
        make_plan(Sources(events, items, map=own))


def test_columns_of_nested_and_binary_values_are_passed_by(tmp_path: Path) -> None:
    n = 60
    table = pa.table(
        {
            "customer": [f"c{k % 7}" for k in range(n)],
            "sku": [f"s{k % 5}" for k in range(n)],
            "date": ["2026-01-01"] * n,
            "more": [{"x": k} for k in range(n)],
            "raw": [bytes([255, k]) for k in range(n)],
            "amount": list(range(n)),
        }
    )
    pq.write_table(table, tmp_path / "orders.parquet")
    plan = make_plan(Sources(str(tmp_path / "orders.parquet")))
    assert plan.chosen.interactions.event_type.constant == "purchase"
    words = pa.array(["Kauf", "Ansicht"] * (n // 2)).dictionary_encode()
    pq.write_table(table.append_column("what", words), tmp_path / "orders.parquet")
    with pytest.raises(UnclearMap, match=r"what \(Kauf, Ansicht\) may say what happened"):
        make_plan(Sources(str(tmp_path / "orders.parquet")))


def test_columns_of_times_are_not_proposed_as_ids(tmp_path: Path) -> None:
    rows = "".join(f"c{n % 7},s{n % 5},2026-01-01\n" for n in range(20))
    with pytest.raises(UnclearMap, match="it may be a or b\n"):
        make_plan(Sources(write(tmp_path, "a,b,datum\n" + rows)))

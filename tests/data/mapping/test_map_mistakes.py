"""Mistakes in a map are named in plain words, and nothing is imported."""

from pathlib import Path

import pytest

from data.dataset import DataError
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, make_plan
from data.survey import survey

ROWS = "customer,sku,date,kind,amount\n" + "".join(
    f"c{n % 7},s{n % 5},2026-01-{n % 28 + 1:02},{'buy' if n % 2 else 'view'},{n if n % 2 else ''}\n" for n in range(60)
)
KIND = "interactions: {event_type: {column: kind, map: {"


def sources(folder: Path, text: str) -> Sources:
    (folder / "orders.csv").write_text(ROWS)
    (folder / "own.yaml").write_text(text)
    return Sources(str(folder / "orders.csv"), map=folder / "own.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (KIND + "purchase: buy, like: [Buy]}}}", "event_type: the word 'Buy' stands under purchase and under like"),
        (KIND + "purchase: buy}, leave_out: [buy]}}", "'buy' stands under purchase and under leave_out"),
        ("interactions: {user_id: sku}\ninteractions: {item_id: sku}", "line 2: interactions comes twice"),
        (KIND + "like: a, like: b}}}", "like comes twice"),
        ("interactions: {user_id: sku, item_id: SKU}", "item_id: column sku is the user_id already"),
        ("interactions: {value: kind}", "column kind does not hold numbers but view, buy"),
        ("name: ../../etc", r"name: '../../etc': a name has at most 40 small letters"),
        ("name: 'a/b'", "name: 'a/b': a name has"),
        ("preset: ../../../etc/passwd", "preset: '../../../etc/passwd': a name has"),
        ("preset: passwd", "there is no preset 'passwd'; there are courses"),
        ('interactions: {read: {separator: ";;"}}', r"interactions\.read\.separator: should have at most 1 character"),
        ("interactions: {read: {columns: 7}}", r"read\.columns: "),
        ("interactions: {read: {columns: [a, b]}}", r"read\.columns names 2 columns, and the first row has 5 values"),
        ("interactions: {event_type: 7}", r"interactions\.event_type: give an object"),
        ("interactions: {event_type: {map: {purchase: buy}}}", "event_type: give either a column or a constant"),
        ("interactions: {event_type: {column: kind, map: [buy]}}", r"event_type\.map: give an object"),
        ("interactions: {value: {scale: [1, 10]}}", r"interactions\.value\.column: is required"),
        ("interactions: {user_id: 3}", r"interactions\.user_id: should be a valid string"),
        ("interactions: {time: {}}", r"interactions\.time: give a column, or rows: true"),
        ("interactions: {read: 7}", r"interactions\.read: give an object"),
        ("interactions: {read: {comma: x}}", r"interactions\.read\.comma: unknown field"),
    ],
)
def test_a_mistake_in_a_map_is_named_without_pydantic_s_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as told:
        make_plan(sources(tmp_path, text))
    assert "http" not in str(told.value)
    assert "validation error" not in str(told.value)


def test_a_preset_from_outside_of_the_list_is_refused(tmp_path: Path) -> None:
    given = sources(tmp_path, "{}")
    with pytest.raises(DataError, match="there is no preset"):
        make_plan(Sources(given.events, preset="../events"))


def test_words_of_the_map_that_no_row_holds_and_values_that_are_left_out_are_told(tmp_path: Path) -> None:
    given = sources(tmp_path, KIND + "purchase: [buy, order], like: heart}}, value: amount}")
    found = import_tables(make_plan(given), tmp_path / "processed", None)
    assert found.notes == ["event_type: no row holds the words of the map order, heart"]
    (tmp_path / "orders.csv").write_text(ROWS.replace("view,\n", "view,3\n"))
    found = import_tables(make_plan(given), tmp_path / "processed", None)
    assert "events of type view carry no value: that of amount is left out" in found.notes


def test_rows_of_too_many_values_are_counted_in_readable_words(tmp_path: Path) -> None:
    given = sources(tmp_path, "{}")
    (tmp_path / "orders.csv").write_text(ROWS + "c1,s1,2026-01-01,buy,1,2\nc1,s1,2026-01-01,buy,1,2,3\n")
    found = import_tables(make_plan(given), tmp_path / "processed", None)
    assert found.refusals.summary() == ["2 x more values than the 5 columns that the header names"]


@pytest.mark.parametrize(("hours", "words"), [(1, "times         can be trusted"), (0, "whose order they do not tell")])
def test_times_that_most_events_of_a_user_share_are_not_called_trustworthy(
    tmp_path: Path, hours: int, words: str
) -> None:
    rows = "".join(f"c{n % 7},s{n % 5},2026-01-{n % 7 + 1:02}T{hours * (n // 7):02}:00,1\n" for n in range(70))
    (tmp_path / "orders.csv").write_text("customer,sku,date,amount\n" + rows)
    import_tables(make_plan(Sources(str(tmp_path / "orders.csv"))), tmp_path / "processed", None)
    assert words in "\n".join(survey(tmp_path / "processed").lines())


def test_empty_fields_of_a_map_are_left_to_the_guess(tmp_path: Path) -> None:
    plan = make_plan(sources(tmp_path, "interactions: {user_id: , time: , value: , read: }"))
    assert (plan.chosen.interactions.user_id, plan.chosen.interactions.value) == ("customer", None)

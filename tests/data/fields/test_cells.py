from decimal import Decimal
from typing import Any

import pytest

from data.fields.cells import id_cell, is_absent, json_cell, number_cell, text_cell
from data.fields.ids import check_id


@pytest.mark.parametrize(
    "cell", [None, "", " ", "\t", "NA", " NA ", "N/A", "null", "NULL", "None", "NaN", "undefined", float("nan")]
)
def test_what_programs_write_for_nothing_is_nothing(cell: Any) -> None:
    assert is_absent(cell)


@pytest.mark.parametrize("cell", ["0", "-1", "Nan Goldin", "nobody", "Na", 0, 0.0, False, "nil"])
def test_what_may_be_an_id_is_something(cell: Any) -> None:
    assert not is_absent(cell)


@pytest.mark.parametrize("cell", ["196.0", "1.96e2", "-196.00", "1e+05", "1.61052E+18", 196.0, Decimal("1.5")])
def test_a_number_with_decimals_is_no_id(cell: Any) -> None:
    """196.0 comes of a column of whole numbers with a gap: recorded as it stands, it would be another user than 196."""
    with pytest.raises(ValueError, match="whole number or a text"):
        check_id(id_cell(cell))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("196", "196"),
        ("007", "007"),
        ("1.5", "1.5"),
        ("1.0.0", "1.0.0"),
        ("5e1", "5e1"),  # a hexadecimal text may look like this, and no program writes 50 so
        ("12e4ab", "12e4ab"),
        ("16105216041436938120", "16105216041436938120"),
        (Decimal("196"), 196),
        (196, 196),
    ],
)
def test_ids_of_a_table_keep_their_digits(cell: Any, expected: Any) -> None:
    found = check_id(id_cell(cell))
    assert found == expected
    assert type(found) is type(expected)


def test_numbers_texts_and_objects_are_read_and_the_rest_left_to_be_refused() -> None:
    assert number_cell("4.5") == number_cell(Decimal("4.5")) == number_cell(4.5) == 4.5
    assert number_cell("four") == "four"
    assert number_cell("1_0") == "1_0"
    assert text_cell(77) == "77"
    assert text_cell(True) is True
    assert json_cell('{"device": "tv"}') == {"device": "tv"}
    for text in ("{", "[" * 100_000):
        with pytest.raises(ValueError, match="JSON object"):
            json_cell(text)


@pytest.mark.parametrize(
    "text", ["\u3164", "\u115f\u1160", "\u2800", "\u034f", "\uffff", "\U0001fffe", "\ufe0f \ufdd0", "\U000e0001"]
)
def test_what_cannot_be_seen_is_no_id_by_itself(text: str) -> None:
    with pytest.raises(ValueError, match="must hold a character that can be seen"):
        check_id(text)
    assert check_id(f"a{text.replace(' ', '')}b")


@pytest.mark.parametrize("text", [".", "..", "", " ", "a\nb", "emo\ud83c", "x" * 201])
def test_a_text_that_cannot_be_read_back_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"dot|empty|control|half of a character|at most"):
        check_id(text)

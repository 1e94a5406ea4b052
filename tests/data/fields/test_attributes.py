"""Typed attributes: what each type takes, what it refuses, and that the refusal names the attribute."""

import pytest

from data.fields.attributes import TYPES, AttributeType, check_attributes, check_schema, check_value

SCHEMA: dict[str, AttributeType] = {
    "price": "number",
    "text": "text",
    "brand": "keyword",
    "tags": "keywords",
    "fresh": "flag",
    "since": "time",
    "meaning": "vector",
}


def test_each_type_keeps_its_values() -> None:
    given = {
        "price": 2.5,
        "text": "",
        "brand": "Äpfel",
        "tags": ["a", "b", "a"],
        "fresh": False,
        "since": "2026-01-31T12:00:00Z",
        "meaning": [1, -0.1234567891],
    }
    assert set(SCHEMA.values()) == set(TYPES)
    assert check_attributes(given, SCHEMA) == {
        **given,
        "tags": ["a", "b"],
        "since": 1_769_860_800_000,
        "meaning": [1.0, -0.123457],
    }


def test_null_is_no_value() -> None:
    assert check_attributes({"price": None, "tags": []}, SCHEMA) == {"tags": []}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("number", "2.5", "must be a number, not '2.5'"),
        ("number", True, "must be a number, not True"),
        ("number", float("nan"), "must be a number, not nan"),
        ("number", 2**64, "must fit into 64 bits"),
        ("keyword", "a\x00b", "control characters"),
        ("keyword", "\u200b", "must not be empty"),
        ("number", 10**400, "must be a number"),
        ("flag", 1, "must be true or false, not 1"),
        ("text", 7, "must be a text, not 7"),
        ("text", "x" * 2001, "at most 2000 characters, not 2001"),
        ("text", "\ud83d", "half of a character"),
        ("keyword", "", "must not be empty"),
        ("keyword", " ", "must not be empty"),
        ("keyword", "ä" * 31, "must hold 1 to 60 bytes"),
        ("keywords", "red", "must be a list of texts, not 'red'"),
        ("keywords", ["red", 1], "must be a text, not 1"),
        ("keywords", [str(i) for i in range(51)], "at most 50 texts, not 51"),
        ("time", "soon", "ISO 8601"),
        ("vector", "0.1 0.2", "must be a list of numbers, not '0.1 0.2'"),
        ("vector", [], "1 to 1536 numbers, not 0"),
        ("vector", [0.0] * 1537, "1 to 1536 numbers, not 1537"),
        ("vector", [0.5, "x"], "number 2 must be a number, not 'x'"),
        ("vector", [True], "number 1 must be a number, not True"),
        ("vector", [0.5, float("nan")], "number 2 must be a number, not nan"),
        ("vector", [1e40], "number 1 must be at most 1e\\+30"),
    ],
)
def test_what_is_not_of_the_type_is_refused(kind: AttributeType, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_value(value, kind)


def test_a_refusal_names_the_attribute() -> None:
    with pytest.raises(ValueError, match=r"^price: must be a number"):
        check_attributes({"price": "cheap"}, SCHEMA)
    with pytest.raises(ValueError, match=r"^colour: is not declared; declared are price, text"):
        check_attributes({"colour": "red"}, SCHEMA)
    with pytest.raises(ValueError, match="give an object"):
        check_attributes([1], SCHEMA)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"Price": "number"}, "^Price: an attribute's name"),
        ({"title": "text"}, "^title: is a field of its own"),
        ({"price": "decimal"}, "^price: 'decimal' is no type; give one of number, text"),
        ({f"a{i}": "number" for i in range(51)}, "at most 50 attributes, not 51"),
    ],
)
def test_a_schema_is_checked(schema: dict[str, str], reason: str) -> None:
    assert check_schema(SCHEMA) == SCHEMA
    with pytest.raises(ValueError, match=reason):
        check_schema(schema)

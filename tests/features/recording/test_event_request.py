"""HTTP and files accept the same events, and refuse the others in the same words."""

from typing import Any

import pytest
from pydantic import ValidationError

from configs.event_types import load_event_types
from data.fields.faults import first_fault
from features.items.catalogue import Item
from features.recording.event import Event
from features.recording.event_request import EventError, EventRequest, EventRules, UnknownItem, checked_event
from features.recording.row_event import row_event

RULES = EventRules(load_event_types(), 300, open_catalogue=True)
NOW_MS = 1_760_000_000_000
GOOD = {"user_id": 1, "item_id": "a", "event_type": "view", "timestamp": 1_700_000_000, "event_id": "e"}


def over_http(fields: dict[str, Any]) -> Event | tuple[str | None, str]:
    try:
        request = EventRequest.model_validate(fields)
        return checked_event(request, request.event_id or "e", RULES, {}, NOW_MS)
    except ValidationError as error:
        return first_fault(error.errors(include_url=False, include_context=False))
    except EventError as error:
        return error.field, str(error)


def in_a_file(row: dict[str, Any], typed: bool = True) -> Event | tuple[str | None, str]:
    try:
        return row_event(row, 1, typed, RULES, {}, NOW_MS)
    except EventError as error:
        return error.field, str(error)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_id": None}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": " "}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": 1e3}, "user_id"),
        ({"user_id": 196.0}, "user_id"),
        ({"user_id": 2**64 - 1}, "user_id"),
        ({"user_id": "x" * 201}, "user_id"),
        ({"user_id": "emo\ud83c"}, "user_id"),
        ({"item_id": [1]}, "item_id"),
        ({"item_id": ".."}, "item_id"),
        ({"event_type": "stare"}, "event_type"),
        ({"event_type": 5}, "event_type"),
        ({"event_type": "\ud83c"}, "event_type"),
        ({"event_type": "rating"}, "rating"),
        ({"event_type": "rating", "rating": True}, "rating"),
        ({"event_type": "rating", "rating": float("nan")}, "rating"),
        ({"event_type": "rating", "rating": 10**400}, "rating"),
        ({"event_type": "rating", "rating": 9}, "rating"),
        ({"event_type": "rating", "rating": "5"}, "rating"),
        ({"rating": 3}, "rating"),
        ({"value": 3}, "value"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": []}, "timestamp"),
        ({"timestamp": -5}, "timestamp"),
        ({"timestamp": 1000}, "timestamp"),
        ({"timestamp": 10**400}, "timestamp"),
        ({"timestamp": float("nan")}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2199-01-01"}, "timestamp"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": 5}, "event_id"),
        ({"event_id": "e-\ud83c"}, "event_id"),
        ({"recommendation_id": "r" * 65}, "recommendation_id"),
        ({"recommendation_id": "list-\ud83c"}, "recommendation_id"),
        ({"context": "hour"}, "context"),
        ({"context": {"client": {"app": {"version": "0.3.2"}}}}, "context"),
        ({"context": {"ids": ["a", "b"]}}, "context"),
        ({"context": {f"k{n}": n for n in range(21)}}, "context"),
        ({"context": {"q": "x" * 201}}, "context"),
        ({"context": {"": 1}}, "context"),
        ({"context": {"score": float("nan")}}, "context"),
        ({"context": {"n": 10**20}}, "context"),
        ({"context": {"n": 10**400}}, "context"),
        ({"context": {"query": "party \ud83c"}}, "context"),
        ({"context": {"party \ud83c": 1}}, "context"),
        ({"mood": 1}, "mood"),
    ],
)
def test_a_bad_event_is_refused_alike_and_by_field(fields: dict[str, Any], field: str) -> None:
    refused = over_http(GOOD | fields)
    assert refused == in_a_file(GOOD | fields)
    assert isinstance(refused, tuple)
    assert refused[0] == field
    assert field in refused[1]
    refused[1].encode()  # what is answered can be written


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"event_type": "purchase", "value": 1_000_000_001},
            "value: must be -1000000000 to 1000000000, not 1000000001",
        ),
        ({"event_type": "rating", "rating": 5.0000001}, "rating: must be 0.5 to 5, not 5.0000001"),
    ],
)
def test_a_number_out_of_its_range_is_told_with_all_digits(fields: dict[str, Any], words: str) -> None:
    """Six digits said: must be -1e+09 to 1e+09, not 1e+09."""
    assert over_http(GOOD | fields) == (words.partition(":")[0], words)
    assert in_a_file(GOOD | fields) == over_http(GOOD | fields)


def test_half_an_emoji_in_the_name_of_a_field_is_refused() -> None:
    refused = over_http(GOOD | {"mood\ud83c": 1})
    assert refused == in_a_file(GOOD | {"mood\ud83c": 1})
    assert refused == (None, "the name of a field: holds half of a character, as of an emoji that was cut")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user_id": "196.0"},
        {"user_id": "NA"},
        {"user_id": "emo\N{PARTY POPPER}"},
        {"user_id": 9_007_199_254_740_993, "item_id": -(2**63) + 1},
        {"item_id": "a/similar"},
        {"event_type": "rating", "rating": 4},
        {"event_type": "rating", "value": 4.5},
        {"timestamp": 20240131},
        {"timestamp": "20240131"},
        {"timestamp": 1_700_000_000_000},
        {"timestamp": "2023-11-15T00:13:20+02:00"},
        {"recommendation_id": None, "context": None},
        {"context": {"device": "tv", "hour": 3, "share": 0.5, "new": True, "none": None, "big": 2**62}},
    ],
)
def test_a_good_event_is_accepted_alike(fields: dict[str, Any]) -> None:
    accepted = over_http(GOOD | fields)
    assert isinstance(accepted, Event)
    assert accepted == in_a_file(GOOD | fields)


@pytest.mark.parametrize(
    ("cells", "field", "words"),
    [
        ({"user_id": "NA"}, "user_id", "user_id is required"),
        ({"user_id": " "}, "user_id", "user_id is required"),
        ({"user_id": "undefined"}, "user_id", "user_id is required"),
        ({"user_id": "196.0"}, "user_id", "whole number or a text"),
        ({"user_id": 196.0}, "user_id", "whole number or a text"),
        ({"timestamp": "NaN"}, "timestamp", "timestamp is required"),
        ({"timestamp_ms": "1600000000000"}, "timestamp", "contradicts"),
        ({"timestamp": None, "timestamp_ms": "1700000000"}, "timestamp_ms", "1970-01-20"),
        ({"timestamp": None, "timestamp_ms": "1700000000000000"}, "timestamp_ms", "give milliseconds"),
        ({"event_type": "rating", "rating": "four"}, "rating", "valid number"),
        ({"event_type": "rating", "rating": "NA"}, "rating", "rating is required"),
        ({"context": "{"}, "context", "JSON object"),
        ({"context": "[1]"}, "context", "object"),
    ],
)
def test_a_cell_of_a_table_is_refused_like_the_value_that_it_stands_for(
    cells: dict[str, Any], field: str, words: str
) -> None:
    refused = in_a_file(GOOD | {"timestamp": "1700000000"} | cells, typed=False)
    assert isinstance(refused, tuple)
    assert refused[0] == field
    assert words in refused[1]


def test_cells_of_a_table_are_read_as_the_values_that_they_stand_for() -> None:
    row = {
        "user_id": "196",
        "item_id": 50,
        "event_type": "rating",
        "rating": "4.5",
        "timestamp": "1700000000",
        "timestamp_ms": "1700000000250",
        "value": "NA",
        "event_id": 77,
        "recommendation_id": "",
        "context": '{"device": "tv"}',
    }
    found = in_a_file(row, typed=False)
    assert isinstance(found, Event)
    assert (found.user_id, found.item_id, found.value, found.event_id) == ("196", "50", 4.5, "77")
    assert (found.timestamp_ms, found.recommendation_id, found.context) == (1_700_000_000_250, None, {"device": "tv"})


def test_a_closed_catalogue_refuses_unknown_items() -> None:
    request = EventRequest.model_validate(GOOD)
    closed = EventRules(RULES.types, 300, open_catalogue=False)
    with pytest.raises(UnknownItem, match="does not list 'a'"):
        checked_event(request, "e", closed, {}, NOW_MS)
    found = checked_event(request, "e", closed, {"a": Item("a", "A", categories=("Crime",))}, NOW_MS)
    assert found.categories == ("Crime",)

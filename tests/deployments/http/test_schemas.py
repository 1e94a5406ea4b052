"""Every bad request is refused with the field's name and words that help."""

import orjson
import pytest

from deployments.http.errors import ApiError, parse_body
from deployments.http.schemas import RecommendRequest, shown_id, typed_id, typed_id_of
from features.items.item_request import ItemRequest
from features.recording.event_request import EventRequest


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b'{"user_id": 1, "topk": 5}', "topk", "unknown field 'topk'"),
        (b'{"user_id": 1, "top_k": 0}', "top_k", "greater than or equal to 1"),
        (b'{"user_id": 1, "top_k": 1000}', "top_k", "less than or equal to 100"),
        (b'{"user_id": 1, "top_k": "10"}', "top_k", "valid integer"),
        (b'{"user_id": 1, "top_k": 2.5}', "top_k", "valid integer"),
        (b'{"user_id": ""}', "user_id", "must not be empty"),
        (b'{"user_id": "  "}', "user_id", "must not be empty"),
        (b'{"user_id": "a\\nb"}', "user_id", "control characters"),
        (b'{"user_id": true}', "user_id", "whole number or a text"),
        (b'{"user_id": 1.5}', "user_id", "whole number or a text"),
        (b'{"user_id": null}', "user_id", "whole number or a text"),
        (b'{"user_id": 99999999999999999999}', "user_id", "64 bits"),
        (b'{"top_k": 5}', "user_id", "user_id is required"),
        (b'{"user_id": 1, "exclude_seen": "yes"}', "exclude_seen", "valid boolean"),
        (b'{"user_id": 1, "filters": {"genre": "Drama"}}', "filters.genre", "unknown field"),
        (b'{"user_id": 1, "filters": {"exclude_items": [[]]}}', "filters.exclude_items.0", "whole number or a text"),
        (b'{"user_id": 1, "context": {"a": []}}', "context", "a: give a text"),
        (
            b'{"user_id": 1, "context": {"n": 100000000000000000000}}',
            "context",
            "n: a whole number must fit into 64 bits",
        ),
        (b'{"user_id": 1, "context": {"n": %s}}' % (b"9" * 400), "context", "n: a whole number must fit into 64 bits"),
        (b'{"user_id": 1, "context": {"query": "party \\ud83c"}}', "context", "query: holds half of a character"),
        (b'{"user_id": 1, "context": {"\\ud83c": 1}}', "context", "half of a character"),
        (b'{"user_id": "emo\\ud83c"}', "user_id", "half of a character"),
        (b'{"user_id": 1, "context": %s' % (b"[" * 20_000), None, "not valid JSON"),
        (b'{"user_id": 1, "context": %s%s}' % (b"[" * 20_000, b"]" * 20_000), "context", "give an object"),
        (b'{"user_id": 1, "context": {"a": %s%s}}' % (b"[" * 20_000, b"]" * 20_000), "context", "a: give a text"),
        (b'{"user_id": nobody, "top_k": 5}', "user_id", "not valid JSON"),
        (b'{"user_id": 1, "context": {"a": 1, "b": nope}}', "context", "not valid JSON"),
        (b'{"user_id": 1, "diversity": 0.}', "diversity", "not valid JSON"),
        (b'{"user_id": "\xff"}', "user_id", "not valid JSON"),
        (b'{"user_id": 1 "top_k": 5}', None, "not valid JSON"),
        (b'{"user_id": 1, "colour": nope}', None, "not valid JSON"),
        (b'{"user_id": 1, "\\ud83c": 2}', None, "the name of a field: holds half of a character"),
        (b'{"user_id": " 7"}', "user_id", "must not begin or end with a space"),
        (b'{"user_id": "7\xc2\xa0"}', "user_id", "must not begin or end with a space"),
        (b'{"user_id": "an\xe2\x80\x8bn"}', "user_id", "cannot be seen, as U+200B"),
        (b'{"user_id": "\\ufeff7"}', "user_id", "cannot be seen, as U+FEFF"),
        (b'{"user_id": 1, "user_id": 2}', "user_id", "the key 'user_id' stands twice"),
        (b'{"user_id": 1, "user\\u005fid": 1}', "user_id", "the key 'user_id' stands twice"),
        (
            b'{"user_id": "a:b", "context": {"t": "12:30", "t": "12:31"}}',
            "context.t",
            "the key 'context.t' stands twice",
        ),
        (b'{"user_id": 1, "filters": {"exclude_items": [1], "exclude_items": [2]}}', "filters.exclude_items", "twice"),
        (b'{"user_id": 1, "context": {"a": %s%s}}' % (b"[" * 300, b"]" * 300), "context", "a: give a text"),
        (b'{"user_id": 1', None, "not valid JSON"),
        (b"", None, "not valid JSON"),
        (b"[]", None, "the body"),
        (b"\xff\xfe", None, "not valid JSON"),
    ],
)
def test_a_bad_recommend_request_is_refused(body: bytes, field: str | None, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_body(RecommendRequest, body)
    assert refused.value.status == 422
    assert refused.value.field == field
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ('"rating": NaN', "rating"),
        ('"rating": "5"', "rating"),
        ('"rating": 1e999', "rating"),
        ('"timestamp": true', "timestamp"),
        ('"timestamp": []', "timestamp"),
        (f'"timestamp": {"9" * 400}', "timestamp"),
        (f'"rating": {"9" * 400}', "rating"),
        ('"event_id": "e-\\ud83c"', "event_id"),
        ('"recommendation_id": "list-\\ud83c"', "recommendation_id"),
        ('"context": {"query": "party \\ud83c"}', "context"),
        ('"event_id": ""', "event_id"),
        ('"event_id": 5', "event_id"),
        ('"recommendation_id": "a\\u0000"', "recommendation_id"),
        ('"context": "hour"', "context"),
    ],
)
def test_a_bad_event_is_refused(fields: str, field: str) -> None:
    body = f'{{"user_id": 1, "item_id": 2, "event_type": "rating", {fields}}}'
    with pytest.raises(ApiError) as refused:
        parse_body(EventRequest, body.encode())
    assert refused.value.field == field


def test_half_an_emoji_in_an_item_is_refused_by_field() -> None:
    with pytest.raises(ApiError) as refused:
        parse_body(ItemRequest, b'{"title": "Party \\ud83c", "genres": ["Fun"]}')
    assert (refused.value.status, refused.value.field) == (422, "title")


def test_colons_and_escapes_in_values_are_no_repeated_keys() -> None:
    body = b'{"user_id": "a:b\\u003ac", "context": {"at": "12:30:00", "x:y": ":", "n": 1e3}, "filters": {}}'
    assert parse_body(RecommendRequest, body).user_id == "a:b:c"
    assert parse_body(RecommendRequest, b'{"user_id": 1, "context": {"n": 1e5, "t": "12:30"}}').context is not None


def test_an_error_is_json_whatever_it_names() -> None:
    """Half a character in the name of what is refused made the answer an error of the server."""
    error = ApiError(422, "invalid_field", "unknown parameter '\ud83c'", "\ud83c")
    assert orjson.loads(orjson.dumps(error.content()))["field"] == "\\ud83c"


def test_ids_keep_their_type_and_are_compared_by_text() -> None:
    assert parse_body(RecommendRequest, b'{"user_id": 196}').user_id == 196
    assert parse_body(RecommendRequest, b'{"user_id": "196"}').user_id == "196"
    assert typed_id("196", "int") == 196
    assert typed_id("196", "str") == "196"
    assert typed_id("0196", "int") == "0196"
    assert typed_id("tt01", "int") == "tt01"


@pytest.mark.parametrize(
    "digits", ["9007199254740992", "9007199254740993", "1610521604143693813", "9223372036854775807"]
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_whole_numbers_that_javascript_would_round_leave_as_text(digits: str, sign: str) -> None:
    """The console liked item 1610521604143693800 where it had shown 1610521604143693813."""
    assert typed_id(sign + digits, "int") == sign + digits
    assert shown_id(int(sign + digits)) == sign + digits


def test_whole_numbers_that_javascript_reads_leave_as_numbers() -> None:
    for number in (0, 196, 9_007_199_254_740_991, -9_007_199_254_740_991):
        assert typed_id(str(number), "int") == shown_id(number) == number
    assert shown_id("196") == "196"


@pytest.mark.parametrize(
    ("given", "id_type", "answered"),
    [
        (2**53, "int", str(2**53)),
        (196, "int", 196),
        ("196", "int", 196),
        ("0196", "int", "0196"),
        ("ada", "int", "ada"),
        (196, "str", "196"),
        ("196", "str", "196"),
    ],
)
def test_the_id_of_a_request_is_typed_as_the_data_set_has_it(
    given: int | str, id_type: str, answered: int | str
) -> None:
    assert typed_id_of(given, id_type) == answered

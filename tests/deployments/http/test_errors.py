"""What a client reads of an error of the store: each thing is said once."""

import re

import pytest
from pydantic import BaseModel
from redis import exceptions as raw

from deployments.http.errors import ApiError, parse_body, store_error
from deployments.http.schemas import ErrorContent, RecommendRequest
from features.recording.event_request import EventRequest
from features.redis.connection import translate
from features.redis.errors import StoreBusy, StoreError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (translate(raw.ConnectionError("refused")), "store_unavailable", "the online store does not answer: refused"),
        (translate(TimeoutError()), "store_unavailable", "the online store does not answer: TimeoutError"),
        (translate(raw.OutOfMemoryError("maxmemory")), "store_full",
         "the online store is full: maxmemory; nothing was written"),
        (translate(raw.ResponseError("no")), "store_unavailable", "the online store refused: no"),
        (StoreBusy("compact is at work on the store; try again when it has finished"), "store_busy",
         "compact is at work on the store; try again when it has finished"),
    ],
)  # fmt: skip
def test_an_error_of_the_store_is_told_once(error: StoreError, code: str, message: str) -> None:
    """Regression: "the online store does not answer: the online store does not answer: refused"."""
    found = store_error(error)
    assert (found.status, found.code, found.message) == (503, code, message)
    parts = re.split(r"[:;] ", found.message)
    assert len(parts) == len(set(parts))


@pytest.mark.parametrize("digits", [400, 4301, 100_000])
@pytest.mark.parametrize(("model", "field"), [(RecommendRequest, "top_k"), (EventRequest, "timestamp")])
def test_a_number_of_more_digits_than_python_reads_is_refused_by_field(
    model: type[BaseModel], field: str, digits: int
) -> None:
    given = b'"user_id": 1' if model is RecommendRequest else b'"user_id": 1, "item_id": 1, "event_type": "like"'
    with pytest.raises(ApiError) as refused:
        parse_body(model, b'{%s, "%s": -%s}' % (given, field.encode(), b"9" * digits))
    assert (refused.value.status, refused.value.field) == (422, field)


def test_an_error_that_names_no_field_has_none_as_the_document_says() -> None:
    assert "field" not in ApiError(404, "not_found", "there is none").content()
    document = ErrorContent.model_json_schema()
    assert document["properties"]["field"]["type"] == "string"
    assert "field" not in document["required"]

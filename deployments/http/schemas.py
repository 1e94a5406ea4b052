"""Requests and answers of the HTTP interface, version 1."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from data.fields.ids import check_id, check_stored_id
from deployments.http.errors import invalid_field
from features.recording.event_request import Context, EventRequest, Id

LARGEST_EXACT = 2**53 - 1
"""The largest whole number that JavaScript reads as it stands, together with all smaller ones."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Filters(_Request):
    include_categories: list[StrictStr] | None = Field(None, max_length=100, description="only items in any of these")
    exclude_categories: list[StrictStr] = Field(default_factory=list, max_length=100)
    exclude_items: list[Id] = Field(default_factory=list, max_length=1000)


class RecommendRequest(_Request):
    user_id: Id = Field(examples=[196])
    top_k: StrictInt = Field(10, ge=1, le=100)
    exclude_seen: StrictBool = True
    context: Context = Field(None, description="what is known of the situation, for example hour or device")
    filters: Filters = Filters()
    diversity: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = Field(
        0.0, description="0 keeps the order of the scores, 1 avoids likeness above all (MMR over the item factors)"
    )
    force_variant: StrictStr | None = Field(
        None,
        min_length=1,
        max_length=40,
        description="for tests: a variant of a running experiment, or a slot; such a list counts for no experiment",
    )
    explain: StrictBool = Field(False, description="name the interactions that speak most for each item")
    preview: StrictBool = Field(
        False, description="only look: the list is not logged as shown, counts nowhere, and has no recommendation_id"
    )


class Reason(BaseModel):
    item_id: int | str
    title: str = Field(description="the item's id where nobody has described it")
    share: float = Field(description="of what all interactions that speak for the item add to its score")


class Recommendation(BaseModel):
    item_id: int | str
    score: float = Field(description="comparable among items of one source")
    rank: int
    title: str = Field(description="the item's id where nobody has described it")
    genres: list[str]
    source: Literal[
        "fold_in",
        "trained",
        "content",
        "category",
        "trending",
        "popular",
        "newest",
        "repeat",
        "follows",
        "neighbour",
        "near",
        "sequence",
        "exploration",
    ]
    reason: list[Reason] | None = Field(None, description="present when `explain` was asked for")


class RecommendAnswer(BaseModel):
    user_id: int | str
    recommendations: list[Recommendation]
    recommendation_id: str | None = Field(
        description="give it back with the events that this list leads to; null for a preview"
    )
    model_version: str | None = Field(description="the one model version that made this answer")
    experiment: str | None
    variant: str = Field(description="of the experiment; without one, the model slot that answered")
    cache_hit: bool
    cold_start: bool = Field(description="nothing is known of the user's taste yet")
    degraded: bool = Field(description="the online store did not answer; made from the last model alone")
    latency_ms: float = Field(description="time inside the ranking replica")
    warnings: list[str] | None = Field(None, description="present where a filter names a category that no item has")


class BatchRequest(_Request):
    events: list[EventRequest] = Field(min_length=1, max_length=1000)


class EventAnswer(BaseModel):
    status: Literal["accepted"]
    event_id: str
    processed_at: str
    actions_taken: list[str]
    duplicate: bool
    next_recommendations_ready: bool = Field(
        description="the user's next list knows of this event; false while features are rebuilt, and for an item that "
        "no model has learned and that has no categories"
    )


def _never_null(schema: dict[str, Any]) -> None:
    """What is absent where there is none, as the answers have it."""
    schema["properties"]["field"] = {
        "type": "string",
        "title": "Field",
        "description": "the field that is wrong; absent where no single one is",
    }


class ErrorContent(BaseModel):
    model_config = ConfigDict(json_schema_extra=_never_null)

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(BaseModel):
    error: ErrorContent


class EventRefusal(BaseModel):
    status: Literal["refused"]
    error: ErrorContent


class BatchAnswer(BaseModel):
    accepted: int
    refused: int
    results: list[EventAnswer | EventRefusal] = Field(description="one for each event, in order")


def id_text(value: int | str) -> str:
    """The text by which an id is compared and stored."""
    return str(value)


def checked_id(text: str, field: str, stored: bool = False) -> str:
    """An id from a path. Raises ApiError 422 naming the field.

    Args:
        stored: it names what may be there already, from a time when more ids were taken.
    """
    try:
        return str(check_stored_id(text) if stored else check_id(text))
    except ValueError as error:
        raise invalid_field(f"{field}: {error}", field) from None


@lru_cache(16_384)  # a list shows the same few items again and again
def typed_id(text: str, id_type: str) -> int | str:
    """An id as the data set types it: a whole number where the data set has whole numbers and the text is one."""
    return _typed(text, id_type)


def _typed(text: str, id_type: str) -> int | str:
    if id_type == "int" and len(text) <= 17 and text.isascii():
        digits = text.removeprefix("-")
        if digits.isdigit() and (digits[0] != "0" or text == "0"):
            return shown_id(int(text))
    return text


def typed_id_of(value: int | str, id_type: str) -> int | str:
    """The id of a request as the data set types it: `id_type` is "int" or "str"."""
    if isinstance(value, int) == (id_type == "int"):
        return shown_id(value)
    # Past the cache, whose places are for items: users are many, and each asks for few lists.
    return _typed(str(value), id_type)


def shown_id(value: int | str) -> int | str:
    """An id as it was given, but as text where readers of JSON that know only floats would change its last digits."""
    return value if isinstance(value, str) or abs(value) <= LARGEST_EXACT else str(value)


def iso_time(milliseconds: int) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

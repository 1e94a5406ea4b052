"""Requests and answers of the HTTP interface, made from its OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from typing_extensions import TypeAliasType


class AcceptedItem(BaseModel):
    status: Literal["accepted"] = "accepted"
    item_id: StrictInt | StrictStr


class CatalogueItems(BaseModel):
    total: Annotated[StrictInt, Field(description="items that are not deleted")]
    recommendable: StrictInt
    hidden: StrictInt
    categories: Annotated[StrictInt, Field(description="categories in which an item can be recommended")]
    attributes: dict[str, StrictStr]


class CatalogueUsers(BaseModel):
    total: StrictInt
    attributes: dict[str, StrictStr]


class CatalogueView(BaseModel):
    """
    What items and users there are, and which attributes they may carry.
    """

    version: Annotated[StrictInt, Field(description="grows with each change of items or attributes")]
    items: CatalogueItems
    users: CatalogueUsers


class Component(BaseModel):
    """
    One part of the system: its state, and in words what was found.
    """

    status: StrictStr
    detail: StrictStr
    took_ms: float | None = None


class DayCounts(BaseModel):
    day: Annotated[StrictStr, Field(description="as 2026-01-31, in UTC")]
    events: Annotated[dict[str, StrictInt], Field(description="events by type")]


class ErasedView(BaseModel):
    """
    What an erasure removed.
    """

    user_id: StrictInt | StrictStr
    status: Literal["erased"] = "erased"
    keys: StrictInt
    stream_entries: StrictInt
    log_rows: StrictInt


class ErrorContent(BaseModel):
    code: StrictStr
    message: StrictStr
    field: Annotated[
        StrictStr | None,
        Field(description="the field that is wrong; absent where no single one is"),
    ] = None


class EventAnswer(BaseModel):
    status: Literal["accepted"]
    event_id: StrictStr
    processed_at: StrictStr
    actions_taken: list[StrictStr]
    duplicate: StrictBool
    next_recommendations_ready: Annotated[
        StrictBool,
        Field(
            description="the user's next list knows of this event; false while features are rebuilt, and for an item that no model has learned and that has no categories"
        ),
    ]


class EventRefusal(BaseModel):
    status: Literal["refused"]
    error: ErrorContent


UserId = TypeAliasType("UserId", Annotated[StrictStr, Field(max_length=200, min_length=1)])


ItemId = TypeAliasType("ItemId", Annotated[StrictStr, Field(max_length=200, min_length=1)])


RecommendationId = TypeAliasType("RecommendationId", Annotated[StrictStr, Field(max_length=64, min_length=1)])


class EventRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    user_id: StrictInt | UserId
    item_id: StrictInt | ItemId
    event_type: StrictStr
    rating: Annotated[float | None, Field(description="for event_type rating")] = None
    value: Annotated[float | None, Field(description="for example seconds watched")] = None
    timestamp: Annotated[
        float | StrictStr | None,
        Field(
            description="seconds since 1970 (or milli-, micro- or nanoseconds: the size tells), ISO 8601, or a date, from 1990 on; the time of arrival when absent"
        ),
    ] = None
    event_id: Annotated[
        StrictStr | None,
        Field(
            description="repeat it in a retry, and the event counts once; with another item, type or value it is refused"
        ),
    ] = None
    recommendation_id: RecommendationId | None = None
    context: dict[str, Any] | None = None


IncludeCategories = TypeAliasType(
    "IncludeCategories",
    Annotated[list[StrictStr], Field(description="only items in any of these", max_length=100)],
)


ExcludeItems = TypeAliasType("ExcludeItems", Annotated[StrictStr, Field(max_length=200, min_length=1)])


class Filters(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    include_categories: Annotated[IncludeCategories | None, Field(description="only items in any of these")] = None
    exclude_categories: Annotated[list[StrictStr] | None, Field(max_length=100)] = None
    exclude_items: Annotated[list[StrictInt | ExcludeItems] | None, Field(max_length=1000)] = None


class FoundItem(BaseModel):
    item_id: StrictInt | StrictStr
    title: StrictStr
    year: StrictInt | None
    categories: list[StrictStr]
    genres: Annotated[
        list[StrictStr],
        Field(description="the same as `categories`, by its older name"),
    ]
    hidden: StrictBool
    attributes: dict[str, Any]


class FoundItems(BaseModel):
    query: StrictStr
    total: Annotated[StrictInt, Field(description="items on all pages")]
    items: list[FoundItem]
    next_cursor: Annotated[StrictStr | None, Field(description="cursor of the next page; null at the end")]


class FoundUser(BaseModel):
    user_id: StrictInt | StrictStr
    events: StrictInt
    first_seen: StrictStr | None
    last_seen: StrictStr | None
    attributes: dict[str, Any]


class FoundUsers(BaseModel):
    total: Annotated[StrictInt, Field(description="users on all pages")]
    users: Annotated[list[FoundUser], Field(description="in the order of their ids' text")]
    next_cursor: Annotated[StrictStr | None, Field(description="cursor of the next page; null at the end")]


class Health(BaseModel):
    status: StrictStr
    checked_at_ms: StrictInt
    components: dict[str, Component]


class HistoryEntry(BaseModel):
    item_id: StrictInt | StrictStr
    title: Annotated[StrictStr, Field(description="the item's id where nobody has described it")]
    event_type: StrictStr
    value: float | None
    time: StrictStr


class ItemBatchAnswer(BaseModel):
    accepted: StrictInt
    refused: StrictInt
    results: Annotated[
        list[AcceptedItem | dict[str, Any]],
        Field(description="one for each item, in order: an AcceptedItem, or status refused with an error"),
    ]


Categories = TypeAliasType("Categories", Annotated[list[StrictStr], Field(max_length=20)])


Genres = TypeAliasType(
    "Genres",
    Annotated[
        list[StrictStr],
        Field(description="an older name of `categories`; give one of them", max_length=20),
    ],
)


Year = TypeAliasType("Year", Annotated[StrictInt, Field(ge=-5000, le=5000)])


class ItemEntry(BaseModel):
    """
    An item in a batch or a file.
    """

    model_config = ConfigDict(
        extra="forbid",
    )
    title: Annotated[StrictStr, Field(max_length=500, min_length=1)]
    categories: Categories | None = None
    genres: Annotated[
        Genres | None,
        Field(description="an older name of `categories`; give one of them"),
    ] = None
    year: Year | None = None
    hidden: Annotated[StrictBool, Field(description="keep it, but recommend it to nobody for now")] = False
    attributes: Annotated[
        dict[str, Any] | None,
        Field(description="values by name, of the types that GET /api/v1/catalogue shows"),
    ] = None
    item_id: StrictInt | ItemId


class ItemRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    title: Annotated[StrictStr, Field(max_length=500, min_length=1)]
    categories: Categories | None = None
    genres: Annotated[
        Genres | None,
        Field(description="an older name of `categories`; give one of them"),
    ] = None
    year: Year | None = None
    hidden: Annotated[StrictBool, Field(description="keep it, but recommend it to nobody for now")] = False
    attributes: Annotated[
        dict[str, Any] | None,
        Field(description="values by name, of the types that GET /api/v1/catalogue shows"),
    ] = None


class ItemView(BaseModel):
    """
    An item of the catalogue, with what all users did, as at this moment.
    """

    item_id: StrictInt | StrictStr
    title: StrictStr
    year: StrictInt | None
    categories: list[StrictStr]
    genres: Annotated[
        list[StrictStr],
        Field(description="the same as `categories`, by its older name"),
    ]
    hidden: StrictBool
    attributes: dict[str, Any]
    created_at: Annotated[StrictStr | None, Field(description="null where nobody knows")]
    updated_at: StrictStr | None
    events: Annotated[
        dict[str, StrictInt],
        Field(description="events by type, all that were ever recorded"),
    ]
    exposures: Annotated[StrictInt, Field(description="lists on which it was shown")]
    popularity: Annotated[
        dict[str, float],
        Field(description="preference decayed by half-lives of 1 h, 1 day and 7 days"),
    ]
    first_event: StrictStr | None
    last_event: StrictStr | None


class Reason(BaseModel):
    item_id: StrictInt | StrictStr
    title: Annotated[StrictStr, Field(description="the item's id where nobody has described it")]
    share: Annotated[
        float,
        Field(description="of what all interactions that speak for the item add to its score"),
    ]


ForceVariant = TypeAliasType(
    "ForceVariant",
    Annotated[
        StrictStr,
        Field(
            description="for tests: a variant of a running experiment, or a slot; such a list counts for no experiment",
            max_length=40,
            min_length=1,
        ),
    ],
)


class RecommendRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    user_id: StrictInt | UserId
    top_k: Annotated[StrictInt, Field(ge=1, le=100)] = 10
    exclude_seen: StrictBool = True
    context: Annotated[
        dict[str, Any] | None,
        Field(description="what is known of the situation, for example hour or device"),
    ] = None
    filters: Filters | None = None
    diversity: Annotated[
        float,
        Field(
            description="0 keeps the order of the scores, 1 avoids likeness above all (MMR over the item factors)",
            ge=0.0,
            le=1.0,
        ),
    ] = 0.0
    force_variant: Annotated[
        ForceVariant | None,
        Field(
            description="for tests: a variant of a running experiment, or a slot; such a list counts for no experiment"
        ),
    ] = None
    explain: Annotated[
        StrictBool,
        Field(description="name the interactions that speak most for each item"),
    ] = False
    preview: Annotated[
        StrictBool,
        Field(description="only look: the list is not logged as shown, counts nowhere, and has no recommendation_id"),
    ] = False


class Recommendation(BaseModel):
    item_id: StrictInt | StrictStr
    score: Annotated[float, Field(description="comparable among items of one source")]
    rank: StrictInt
    title: Annotated[StrictStr, Field(description="the item's id where nobody has described it")]
    genres: list[StrictStr]
    source: StrictStr
    reason: Annotated[list[Reason] | None, Field(description="present when `explain` was asked for")] = None


class SimilarItem(BaseModel):
    item_id: StrictInt | StrictStr
    title: Annotated[StrictStr, Field(description="the item's id where nobody has described it")]
    categories: list[StrictStr]
    genres: Annotated[
        list[StrictStr],
        Field(description="the same as `categories`, by its older name"),
    ]
    rank: StrictInt
    similarity: Annotated[float, Field(description="cosine of the item factors")]


class TrendingItem(BaseModel):
    item_id: StrictInt | StrictStr
    title: Annotated[StrictStr, Field(description="the item's id where nobody has described it")]
    categories: list[StrictStr]
    genres: Annotated[
        list[StrictStr],
        Field(description="the same as `categories`, by its older name"),
    ]
    rank: StrictInt
    weight: Annotated[
        float,
        Field(description="preference of all users, halved with every window, as at the newest event"),
    ]


class UserRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    attributes: Annotated[
        dict[str, Any],
        Field(description="values by name, instead of all that the user had"),
    ]


class UserView(BaseModel):
    """
    What the online store holds of a user, as at this moment.
    """

    user_id: StrictInt | StrictStr
    version: Annotated[
        StrictInt,
        Field(description="grows with every change of the features; 0 for a user without events"),
    ]
    attributes: dict[str, Any]
    first_seen: StrictStr | None
    last_seen: StrictStr | None
    refreshed_at: Annotated[StrictStr | None, Field(description="when an event last changed these features")]
    events: Annotated[
        dict[str, StrictInt],
        Field(description="events by type, all that were ever recorded"),
    ]
    activity: Annotated[
        dict[str, float],
        Field(description="events decayed by half-lives of 1 h, 1 day and 7 days"),
    ]
    affinities: Annotated[
        dict[str, float],
        Field(description="category to decayed preference, strongest first"),
    ]
    history: Annotated[list[HistoryEntry], Field(description="latest interactions, newest first")]
    older_seen: Annotated[
        StrictInt,
        Field(description="items seen before those, kept only to be left out"),
    ]


class BatchAnswer(BaseModel):
    accepted: StrictInt
    refused: StrictInt
    results: Annotated[
        list[EventAnswer | EventRefusal],
        Field(description="one for each event, in order"),
    ]


class BatchRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    events: Annotated[list[EventRequest], Field(max_length=1000, min_length=1)]


class DailyCounts(BaseModel):
    """
    What users did with an item, day by day, as data set and log have it.
    """

    item_id: StrictInt | StrictStr
    first_day: StrictStr
    last_day: Annotated[
        StrictStr,
        Field(description="that of the item's last event; today where it has none"),
    ]
    days: Annotated[list[DayCounts], Field(description="those with events, the first first")]


class ErrorAnswer(BaseModel):
    error: ErrorContent


class ItemBatchRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
    )
    items: Annotated[list[ItemEntry], Field(max_length=1000, min_length=1)]


class RecommendAnswer(BaseModel):
    user_id: StrictInt | StrictStr
    recommendations: list[Recommendation]
    recommendation_id: Annotated[
        StrictStr | None,
        Field(description="give it back with the events that this list leads to; null for a preview"),
    ]
    model_version: Annotated[
        StrictStr | None,
        Field(description="the one model version that made this answer"),
    ]
    experiment: StrictStr | None
    variant: Annotated[
        StrictStr,
        Field(description="of the experiment; without one, the model slot that answered"),
    ]
    cache_hit: StrictBool
    cold_start: Annotated[StrictBool, Field(description="nothing is known of the user's taste yet")]
    degraded: Annotated[
        StrictBool,
        Field(description="the online store did not answer; made from the last model alone"),
    ]
    latency_ms: Annotated[float, Field(description="time inside the ranking replica")]
    warnings: Annotated[
        list[StrictStr] | None,
        Field(description="present where a filter names a category that no item has"),
    ] = None


class SimilarAnswer(BaseModel):
    item_id: StrictInt | StrictStr
    model_version: StrictStr
    items: list[SimilarItem]


class TrendingAnswer(BaseModel):
    window: StrictStr
    category: StrictStr | None
    items: list[TrendingItem]

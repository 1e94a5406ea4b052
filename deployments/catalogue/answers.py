"""What the endpoints of items and users answer."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from configs.groups.data_settings import AttributeType
from features.items.catalogue import Item

GENRES = "the same as `categories`, by its older name"
UNTITLED = "the item's id where nobody has described it"
NEXT = "cursor of the next page; null at the end"


class FoundItem(BaseModel):
    item_id: int | str
    title: str
    year: int | None
    categories: list[str]
    genres: list[str] = Field(description=GENRES)
    hidden: bool
    attributes: dict[str, Any]


class FoundItems(BaseModel):
    query: str
    total: int = Field(description="items on all pages")
    items: list[FoundItem]
    next_cursor: str | None = Field(description=NEXT)


class ItemView(BaseModel):
    """An item of the catalogue, with what all users did, as at this moment."""

    item_id: int | str
    title: str
    year: int | None
    categories: list[str]
    genres: list[str] = Field(description=GENRES)
    hidden: bool
    attributes: dict[str, Any]
    created_at: str | None = Field(description="null where nobody knows")
    updated_at: str | None
    events: dict[str, int] = Field(description="events by type, all that were ever recorded")
    exposures: int = Field(description="lists on which it was shown")
    popularity: dict[str, float] = Field(description="preference decayed by half-lives of 1 h, 1 day and 7 days")
    first_event: str | None
    last_event: str | None


class DayCounts(BaseModel):
    day: str = Field(description="as 2026-01-31, in UTC")
    events: dict[str, int] = Field(description="events by type")


class DailyCounts(BaseModel):
    """What users did with an item, day by day, as data set and log have it."""

    item_id: int | str
    first_day: str
    last_day: str = Field(description="that of the item's last event; today where it has none")
    days: list[DayCounts] = Field(description="those with events, the first first")


class AcceptedItem(BaseModel):
    status: Literal["accepted"] = "accepted"
    item_id: int | str


class ItemBatchAnswer(BaseModel):
    accepted: int
    refused: int
    results: list[AcceptedItem | dict[str, Any]] = Field(
        description="one for each item, in order: an AcceptedItem, or status refused with an error"
    )


class TrendingItem(BaseModel):
    item_id: int | str
    title: str = Field(description=UNTITLED)
    categories: list[str]
    genres: list[str] = Field(description=GENRES)
    rank: int
    weight: float = Field(description="preference of all users, halved with every window, as at the newest event")


class TrendingAnswer(BaseModel):
    window: str
    category: str | None
    items: list[TrendingItem]


class SimilarItem(BaseModel):
    item_id: int | str
    title: str = Field(description=UNTITLED)
    categories: list[str]
    genres: list[str] = Field(description=GENRES)
    rank: int
    similarity: float = Field(description="cosine of the item factors")


class SimilarAnswer(BaseModel):
    item_id: int | str
    model_version: str
    items: list[SimilarItem]


class CatalogueItems(BaseModel):
    total: int = Field(description="items that are not deleted")
    recommendable: int
    hidden: int
    categories: int = Field(description="categories in which an item can be recommended")
    attributes: dict[str, AttributeType]


class CatalogueUsers(BaseModel):
    total: int
    attributes: dict[str, AttributeType]


class CatalogueView(BaseModel):
    """What items and users there are, and which attributes they may carry."""

    version: int = Field(description="grows with each change of items or attributes")
    items: CatalogueItems
    users: CatalogueUsers


class HistoryEntry(BaseModel):
    item_id: int | str
    title: str = Field(description=UNTITLED)
    event_type: str
    value: float | None
    time: str


class UserView(BaseModel):
    """What the online store holds of a user, as at this moment."""

    user_id: int | str
    version: int = Field(description="grows with every change of the features; 0 for a user without events")
    attributes: dict[str, Any]
    first_seen: str | None
    last_seen: str | None
    refreshed_at: str | None = Field(description="when an event last changed these features")
    events: dict[str, int] = Field(description="events by type, all that were ever recorded")
    activity: dict[str, float] = Field(description="events decayed by half-lives of 1 h, 1 day and 7 days")
    affinities: dict[str, float] = Field(description="category to decayed preference, strongest first")
    history: list[HistoryEntry] = Field(description="latest interactions, newest first")
    older_seen: int = Field(description="items seen before those, kept only to be left out")


class FoundUser(BaseModel):
    user_id: int | str
    events: int
    first_seen: str | None
    last_seen: str | None
    attributes: dict[str, Any]


class FoundUsers(BaseModel):
    total: int = Field(description="users on all pages")
    users: list[FoundUser] = Field(description="in the order of their ids' text")
    next_cursor: str | None = Field(description=NEXT)


class ErasedView(BaseModel):
    """What an erasure removed."""

    user_id: int | str
    status: Literal["erased"] = "erased"
    keys: int
    stream_entries: int
    log_rows: int


def described(item: Item | None) -> dict[str, list[str]]:
    """The categories of an item under both their names; none where nobody has described it."""
    categories = list(item.categories) if item else []
    return {"categories": categories, "genres": categories}

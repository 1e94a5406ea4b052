"""Items: reading, finding and changing them, and what is like them."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from configs import clock
from configs.event_types import EventTypes
from data.daily_counts import DAY_MS, daily_counts
from data.fields.attributes import AttributeType, Value, check_value
from data.fields.cells import flag_cell, number_cell
from deployments.catalogue.answers import (
    AcceptedItem,
    CatalogueItems,
    DailyCounts,
    DayCounts,
    FoundItem,
    FoundItems,
    ItemBatchAnswer,
    ItemView,
    SimilarAnswer,
    SimilarItem,
    TrendingAnswer,
    TrendingItem,
    described,
)
from deployments.catalogue.cursors import read_cursor, write_cursor
from deployments.catalogue.search import Place, Search, SearchFilter, SearchIndex
from deployments.catalogue.typed_ids import IdTypes
from deployments.http.errors import ApiError, invalid_field, parse_json
from deployments.http.schemas import iso_time, typed_id
from deployments.operations.similar_items import Similar
from features.items.catalogue import Catalogue, Item, delete_item, put_items
from features.items.item_features import read_item_features
from features.items.item_request import DescriptionError, ItemRequest, checked_entry, checked_item
from features.items.trending import read_popularity, read_trending
from features.redis.connection import StoreClient
from features.redis.keys import Keys

logger = logging.getLogger("ray.serve")
BATCH_LIMIT = 1000
POPULARITY_S = 30.0
"""How long a search ranks by the popularity that it has read: its pages then fit together."""


class Items:
    """The catalogue as people and programs see and change it.

    Args:
        ids: types the ids of answers.
        ask_similar: asks the champion's `Retrieval` for the neighbours of an item.
        event_files: gives the Parquet files of all events that are not in a stream any more.

    Attributes:
        catalogue: the view that answers; `follow` keeps it up to date.
    """

    def __init__(
        self,
        client: StoreClient,
        keys: Keys,
        types: EventTypes,
        ids: IdTypes,
        ask_similar: Callable[[bytes, int], Awaitable[Similar]],
        event_files: Callable[[], list[Path]] = list,
        require_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._types = types
        self._ids = ids
        self._ask_similar = ask_similar
        self._event_files = event_files
        self.require_room = require_room
        self._one_count = asyncio.Semaphore(1)  # it reads all of the log, and so keeps a core busy
        self.catalogue = Catalogue(client, keys)
        self._index = SearchIndex()
        self._one_search = asyncio.Semaphore(1)  # searches that walk a large catalogue take turns
        self._popularity: dict[str, float] = {}
        self._popularity_due = 0.0

    async def follow(self) -> None:
        """Take over what has changed."""
        changed = await self.catalogue.refresh()
        self._index.take(self.catalogue.items, changed)

    def title(self, item_id: str) -> str:
        """The item's title; its id where nobody has described it."""
        item = self.catalogue.items.get(item_id)
        return item.title if item else item_id

    async def item(self, item_id: str) -> ItemView:
        """What catalogue and store hold of an item. Raises ApiError 404 for one that the catalogue does not list."""
        item = self.catalogue.items.get(item_id)
        if item is None or item.deleted:
            raise ApiError(404, "not_found", f"the catalogue does not list item {item_id!r}", "item_id")
        live = await read_item_features(self._client, self._keys, self._types, item_id, clock.now_ms())
        return ItemView(
            item_id=self._ids.item(item_id),
            title=item.title,
            year=item.year,
            **described(item),
            hidden=item.hidden,
            attributes=dict(item.attributes),
            created_at=iso_time(item.created_ms) if item.created_ms else None,
            updated_at=iso_time(item.updated_ms) if item.updated_ms else None,
            events=live.events,
            exposures=live.exposures,
            popularity=live.popularity,
            first_event=None if live.first_ms is None else iso_time(live.first_ms),
            last_event=None if live.last_ms is None else iso_time(live.last_ms),
        )

    async def daily(self, item_id: str, days: int) -> DailyCounts:
        """Events by day up to that of the last. Raises ApiError 404 for an item that the catalogue does not list."""
        item = self.catalogue.items.get(item_id)
        if item is None or item.deleted:
            raise ApiError(404, "not_found", f"the catalogue does not list item {item_id!r}", "item_id")
        now_ms = clock.now_ms()
        live = await read_item_features(self._client, self._keys, self._types, item_id, now_ms)
        last_day = (now_ms if live.last_ms is None else live.last_ms) // DAY_MS
        first_day = last_day - days + 1
        async with self._one_count:
            files = await asyncio.to_thread(self._event_files)
            found = await asyncio.to_thread(daily_counts, files, item_id, first_day, last_day)
        return DailyCounts(
            item_id=self._ids.item(item_id),
            first_day=_date(first_day),
            last_day=_date(last_day),
            days=[DayCounts(day=_date(day), events=dict(sorted(found[day].items()))) for day in sorted(found)],
        )

    async def put(self, item_id: str, request: ItemRequest) -> ItemView:
        """Add or replace an item. Every replica follows within a second. Raises ApiError 422 naming the field."""
        self.require_room()
        try:
            item = checked_item(item_id, request, self.catalogue.item_schema, clock.now_ms())
        except DescriptionError as error:
            raise invalid_field(str(error), error.field) from None
        await put_items(self._client, self._keys, [item])
        await self.follow()
        return await self.item(item_id)

    async def put_batch(self, body: bytes) -> ItemBatchAnswer:
        """Add or replace up to 1,000 items, each accepted or refused on its own, by index; of two with one id the
        later one stays. Raises ApiError 422 for a body that is no batch."""
        self.require_room()
        now_ms = clock.now_ms()
        items: list[Item] = []
        results: list[AcceptedItem | dict[str, Any]] = []
        for row in _rows(body):
            try:
                item = checked_entry(row, self.catalogue.item_schema, now_ms)
            except DescriptionError as error:
                refusal = invalid_field(str(error), error.field)
                results.append({"status": "refused", "error": refusal.content()})
            else:
                items.append(item)
                results.append(AcceptedItem(item_id=self._ids.item(item.item_id)))
        await put_items(self._client, self._keys, items)
        await self.follow()
        return ItemBatchAnswer(accepted=len(items), refused=len(results) - len(items), results=results)

    async def delete(self, item_id: str) -> None:
        """Never recommend the item again. Raises ApiError 404."""
        if not await delete_item(self._client, self._keys, item_id, clock.now_ms()):
            raise ApiError(404, "not_found", f"the catalogue does not list item {item_id!r}", "item_id")
        await self.follow()

    async def find(self, question: Search, limit: int, cursor: str | None) -> FoundItems:
        """A page of the items that a question asks for. Raises ApiError 422 for a bad cursor."""
        after = None if cursor is None else _place(read_cursor(repr(question), cursor))
        async with self._one_search:
            popularity = await self._weights() if question.query.strip() else {}
            found = await asyncio.to_thread(self._index.find, question, limit, after, popularity)
        return FoundItems(
            query=question.query,
            total=found.total,
            items=[
                FoundItem(
                    item_id=self._ids.item(item.item_id),
                    title=item.title,
                    year=item.year,
                    **described(item),
                    hidden=item.hidden,
                    attributes=dict(item.attributes),
                )
                for _, item in found.items
            ],
            next_cursor=write_cursor(repr(question), found.items[-1][0]) if found.more else None,
        )

    def filters(self, given: Sequence[tuple[str, str]]) -> tuple[SearchFilter, ...]:
        """Filters from pairs of attribute and text, as an address has them. Raises ApiError 422 naming the field."""
        schema = self.catalogue.item_schema
        found = []
        for name, text in given:
            field = f"attribute.{name}"
            if name not in schema:
                raise invalid_field(f"{field}: is not declared; declared are {', '.join(schema) or 'none'}", field)
            try:
                found.append(SearchFilter(name, schema[name], _filter_value(text, schema[name])))
            except ValueError as error:
                raise invalid_field(f"{field}: {error}", field) from None
        return tuple(found)

    async def similar(self, item_id: str, limit: int) -> SimilarAnswer:
        """Items like this one, by the champion's factors. Raises ApiError 404, 503."""
        try:
            found = await self._ask_similar(item_id.encode(), limit)
        except Exception as error:
            logger.exception("asking for items similar to %s failed", item_id)
            raise ApiError(503, "model_unavailable", f"no model answers: {error}", retry_after_s=1) from error
        if found.version is None:
            raise ApiError(503, "model_unavailable", "the champion slot holds no usable model", retry_after_s=1)
        if not found.known:
            raise ApiError(404, "not_found", f"neither model nor catalogue know item {item_id!r}", "item_id")
        rows = [(neighbour.decode(), cosine) for neighbour, cosine in found.items]
        return SimilarAnswer(
            item_id=typed_id(item_id, found.item_id_type),
            model_version=found.version,
            items=[
                SimilarItem(
                    item_id=typed_id(neighbour, found.item_id_type),
                    title=self.title(neighbour),
                    **described(self.catalogue.items.get(neighbour)),
                    rank=rank,
                    similarity=cosine,
                )
                for rank, (neighbour, cosine) in enumerate(rows, start=1)
            ],
        )

    def categories(self) -> dict[str, int]:
        """How many items can be recommended in each category, by name."""
        return dict(sorted(self.catalogue.categories.items()))

    def summary(self) -> CatalogueItems:
        """How many items there are, and their attributes."""
        totals = self.catalogue.totals
        return CatalogueItems(
            total=totals["recommendable"] + totals["hidden"],
            recommendable=totals["recommendable"],
            hidden=totals["hidden"],
            categories=len(self.catalogue.categories),
            attributes=dict(self.catalogue.item_schema),
        )

    async def trending(self, window: str, category: str | None, limit: int) -> TrendingAnswer:
        """The items that gain most interest now, over all users."""
        items = self.catalogue.items
        ranked = await read_trending(self._client, self._keys, limit, window, category, items)
        return TrendingAnswer(
            window=window,
            category=category,
            items=[
                TrendingItem(
                    item_id=self._ids.item(item_id),
                    title=self.title(item_id),
                    **described(items.get(item_id)),
                    rank=rank,
                    weight=weight,
                )
                for rank, (item_id, weight) in enumerate(ranked, start=1)
            ],
        )

    async def _weights(self) -> Mapping[str, float]:
        if time.monotonic() >= self._popularity_due:
            [popularity] = await read_popularity(self._client, self._keys, ["7d"])
            pairs = zip(popularity.item_ids, popularity.weights.tolist(), strict=True)
            self._popularity = {item_id.decode(): weight for item_id, weight in pairs}
            self._popularity_due = time.monotonic() + POPULARITY_S
        return self._popularity


def _rows(body: bytes) -> list[object]:
    try:
        content = parse_json(body)
    except ValueError as error:
        raise invalid_field(f"the body is not valid JSON: {error}", None) from None
    rows = content.get("items") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise invalid_field('items: give a list, as in {"items": [...]}', "items")
    if unknown := set(content) - {"items"}:
        raise invalid_field(f"unknown field {sorted(unknown)[0]!r}; leave it out", sorted(unknown)[0])
    if not 1 <= len(rows) <= BATCH_LIMIT:
        raise invalid_field(f"items: give 1 to {BATCH_LIMIT} items, not {len(rows)}", "items")
    return rows


def _filter_value(text: str, kind: AttributeType) -> Value:
    if kind == "keywords":
        return check_value(text, "keyword")
    if kind == "vector":
        raise ValueError("is a list of numbers, of which no value can be asked for")
    if kind == "number":
        return check_value(number_cell(text), kind)
    if kind == "flag":
        return check_value(flag_cell(text), kind)
    return check_value(text, kind)


def _place(given: Any) -> Place:
    """The place in a cursor, which may have been made up. Raises ApiError 422."""
    match given:
        case [int(kind), float() | int() as weight, str(item_id)] if math.isfinite(weight):
            return kind, float(weight), item_id
    raise invalid_field("cursor: give next_cursor of the page before, or leave it out", "cursor")


def _date(day: int) -> str:
    """A day since 1970 as people write it."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()

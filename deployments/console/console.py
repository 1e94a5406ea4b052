"""Console: the ingress of `console`. Health, users and items, all from the online store, so any replica answers."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from pydantic import BaseModel, Field

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from data.event_log import EventLog
from deployments.console.catalogue_search import count_categories, find_items
from deployments.console.data_view import DataState
from deployments.console.snapshot import ConsoleSnapshot
from deployments.console.typed_export import typed_export
from deployments.http.errors import ApiError, invalid_field
from deployments.http.schemas import (
    FoundItem,
    FoundItems,
    ItemRequest,
    SimilarAnswer,
    SimilarItem,
    TrendingAnswer,
    TrendingItem,
    iso_time,
    typed_id,
)
from deployments.operations.experiments.control import AskVersion, ExperimentControl, Hold
from deployments.operations.health import HealthProbe
from deployments.operations.model_versions import ModelVersions
from deployments.operations.monitor_routes import Operations
from deployments.operations.similar_items import Similar
from deployments.replica.control_watch import ControlWatch
from features.items.catalogue import Catalogue, Item, delete_item, put_items
from features.items.item_features import read_item_features
from features.items.trending import read_trending
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION, read_slots
from features.users.erasure import erase_user, export_user
from features.users.history import decode_history, decode_seen
from models.bundle.arrays import BundleError
from models.bundle.manifest import Manifest
from models.bundle.reading import read_manifest

logger = logging.getLogger("ray.serve")
ERASURE_WAIT_S = 20.0


class HistoryEntry(BaseModel):
    item_id: int | str
    title: str = Field(description="the item's id where nobody has described it")
    event_type: str
    value: float | None
    time: str


class UserView(BaseModel):
    """What the online store holds of a user, as at this moment."""

    user_id: int | str
    version: int = Field(description="grows with every change of the features")
    first_seen: str | None
    last_seen: str | None
    refreshed_at: str | None = Field(description="when an event last changed these features")
    events: dict[str, int] = Field(description="events by type, all that were ever recorded")
    activity: dict[str, float] = Field(description="events decayed by half-lives of 1 h, 1 day and 7 days")
    affinities: dict[str, float] = Field(description="category to decayed preference, strongest first")
    history: list[HistoryEntry] = Field(description="latest interactions, newest first")
    older_seen: int = Field(description="items seen before those, kept only to be left out")


class ItemView(BaseModel):
    """An item of the catalogue, with what all users did, as at this moment."""

    item_id: int | str
    title: str
    year: int | None
    genres: list[str]
    hidden: bool
    events: dict[str, int] = Field(description="events by type, all that were ever recorded")
    exposures: int = Field(description="lists on which it was shown")
    popularity: dict[str, float] = Field(description="preference decayed by half-lives of 1 h, 1 day and 7 days")
    first_event: str | None
    last_event: str | None


class ErasedView(BaseModel):
    """What an erasure removed."""

    user_id: int | str
    status: Literal["erased"] = "erased"
    keys: int
    stream_entries: int
    log_rows: int


class Console:
    """Answers questions about users, items, experiments and models, for people and for other programs.

    Args:
        settings: where the store, the log and the bundles are.
        ask_similar: asks the champion's `Retrieval` for the neighbours of an item.
        ask_version, hold: see `ExperimentControl`.
    """

    def __init__(
        self,
        settings: Settings,
        ask_similar: Callable[[bytes, int], Awaitable[Similar]],
        ask_version: AskVersion,
        hold: Hold,
    ) -> None:
        self._ask_similar = ask_similar
        self.settings = settings
        self._types = load_event_types(settings.data.events)
        self._client = connect(settings.store, settings.store_url)
        self._keys = keys_of(settings.store)
        self._store = OnlineStore(self._client, self._keys, settings.store, self._types)
        self._catalogue = Catalogue(self._client, self._keys)
        self._log = EventLog(settings.log_dir)
        self.data = DataState(settings, self._client, self._keys, self.typed_user_id, self._item_id, self._title)
        self.health = HealthProbe(settings, self._client, self._keys)
        self.operations = Operations(settings, self._client, self._keys)
        self.models = ModelVersions(settings, self._client, self._keys)
        self.snapshot = ConsoleSnapshot(settings, self._client, self._keys, self.health, self.operations.monitor)
        self.experiments = ExperimentControl(settings, self._store, ask_version, hold)
        self._manifest: Manifest | None = None
        self._watch = ControlWatch(
            self._client,
            self._keys,
            settings.serving.watch_s,
            on_slots=self._follow_slots,
            on_catalogue=self._follow_catalogue,
            on_traffic=self.experiments.follow,
            on_interval=(1.0, self.experiments.tick),
        )

    async def start(self) -> None:
        await self._watch.start()

    async def stop(self) -> None:
        """Follow nothing any more, and hang up."""
        await self._watch.stop()
        await self._client.aclose()

    def check_health(self) -> None:
        self._watch.check_health()

    async def user(self, user_id: str) -> UserView:
        """What the store holds of a user. Raises ApiError 404 for a user without any event."""
        [features] = await self._store.read_users([user_id])
        if features.version == 0:
            raise ApiError(404, "not_found", f"no event of user {user_id!r} is known", "user_id")
        history = decode_history(features.history)
        columns = (history.times_ms.tolist(), history.values.tolist(), history.codes.tolist())
        now_ms = clock.now_ms()
        affinities = features.affinities(now_ms)
        entries = [
            HistoryEntry(
                item_id=self._item_id(item_id.decode()),
                title=self._title(item_id.decode()),
                event_type=self._types.names.get(code, str(code)),
                value=None if math.isnan(value) else value,
                time=iso_time(int(time_ms)),
            )
            for item_id, time_ms, value, code in zip(history.item_ids, *columns, strict=True)
        ]
        return UserView(
            user_id=self.typed_user_id(user_id),
            version=features.version,
            first_seen=_iso(features.first_ms),
            last_seen=_iso(features.last_ms),
            refreshed_at=_iso(features.processed_ms),
            events=features.counters(self._types),
            activity=features.activity(now_ms),
            affinities=dict(sorted(affinities.items(), key=lambda pair: -pair[1])),
            history=entries[::-1],
            older_seen=len(decode_seen(features.older_seen)),
        )

    async def item(self, item_id: str) -> ItemView:
        """What catalogue and store hold of an item. Raises ApiError 404 for one that the catalogue does not list."""
        item = self._catalogue.items.get(item_id)
        if item is None or item.deleted:
            raise ApiError(404, "not_found", f"the catalogue does not list item {item_id!r}", "item_id")
        now_ms = clock.now_ms()
        live = await read_item_features(self._client, self._keys, self._types, item_id, now_ms)
        return ItemView(
            item_id=self._item_id(item_id),
            title=item.title,
            year=item.year,
            genres=list(item.categories),
            hidden=item.hidden,
            events=live.events,
            exposures=live.exposures,
            popularity=live.popularity,
            first_event=_iso(live.first_ms),
            last_event=_iso(live.last_ms),
        )

    async def erase_user(self, user_id: str) -> ErasedView:
        """Remove the user from store, streams, log and exposures; complete when it answers. Safe to repeat.

        Raises:
            StoreBusy: a compaction or another erasure took longer than it is waited for.
        """
        done = await erase_user(self._store, self._log, user_id, wait_s=ERASURE_WAIT_S)
        return ErasedView(
            user_id=self.typed_user_id(user_id),
            keys=done.keys,
            stream_entries=done.stream_entries,
            log_rows=done.log_rows,
        )

    async def export_user(self, user_id: str) -> dict[str, Any]:
        """Everything that store and log hold of the user. Raises ApiError 404 when that is nothing."""
        found = await export_user(self._store, self._log, user_id)
        if not (found["history"] or found["events"] or found["exposures"] or found["experiments"]):
            raise ApiError(404, "not_found", f"nothing of user {user_id!r} is kept", "user_id")
        return typed_export(found, self.typed_user_id, self._item_id)

    async def put_item(self, item_id: str, request: ItemRequest) -> ItemView:
        """Add or replace an item. Every replica follows within a second. Raises ApiError 422 for a bad category."""
        now_ms = clock.now_ms()
        item = Item(
            item_id=item_id,
            title=request.title,
            year=request.year,
            categories=tuple(dict.fromkeys(request.genres)),
            hidden=request.hidden,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        try:
            await put_items(self._client, self._keys, [item])
        except ValueError as error:
            raise invalid_field(str(error).replace("categories", "genres", 1), "genres") from None
        await self._catalogue.refresh()
        return await self.item(item_id)

    async def delete_item(self, item_id: str) -> None:
        """Never recommend the item again. Raises ApiError 404."""
        if not await delete_item(self._client, self._keys, item_id, clock.now_ms()):
            raise ApiError(404, "not_found", f"the catalogue does not list item {item_id!r}", "item_id")
        await self._catalogue.refresh()

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
                    title=self._title(neighbour),
                    genres=self._genres(neighbour),
                    rank=rank,
                    similarity=cosine,
                )
                for rank, (neighbour, cosine) in enumerate(rows, start=1)
            ],
        )

    def find_items(self, query: str, limit: int) -> FoundItems:
        """Items whose title holds the words of `query`."""
        found = find_items(self._catalogue.items, query, limit)
        items = [
            FoundItem(
                item_id=self._item_id(item.item_id), title=item.title, year=item.year, genres=list(item.categories)
            )
            for item in found
        ]
        return FoundItems(query=query, items=items)

    def categories(self) -> dict[str, int]:
        """How many items can be recommended in each category."""
        return count_categories(self._catalogue.items)

    async def trending(self, window: str, category: str | None, limit: int) -> TrendingAnswer:
        """The items that gain most interest now, over all users."""
        items = self._catalogue.items
        ranked = await read_trending(self._client, self._keys, limit, window, category, items)
        return TrendingAnswer(
            window=window,
            category=category,
            items=[
                TrendingItem(
                    item_id=self._item_id(item_id),
                    title=self._title(item_id),
                    genres=self._genres(item_id),
                    rank=rank,
                    weight=weight,
                )
                for rank, (item_id, weight) in enumerate(ranked, start=1)
            ],
        )

    def typed_user_id(self, text: str) -> int | str:
        """A user's id as the data set types it."""
        return typed_id(text, self._manifest.user_id_type if self._manifest else "str")

    def _item_id(self, text: str) -> int | str:
        return typed_id(text, self._manifest.item_id_type if self._manifest else "str")

    def _title(self, item_id: str) -> str:
        """The item's title; its id where nobody has described it."""
        item = self._catalogue.items.get(item_id)
        return item.title if item else item_id

    def _genres(self, item_id: str) -> list[str]:
        item = self._catalogue.items.get(item_id)
        return list(item.categories) if item else []

    async def _follow_catalogue(self) -> None:
        await self._catalogue.refresh()

    async def _follow_slots(self) -> None:
        champion = (await read_slots(self._client, self._keys)).get(CHAMPION)
        if champion is not None and (self._manifest is None or self._manifest.version != champion.version):
            try:
                self._manifest = await asyncio.to_thread(read_manifest, champion.path)
            except BundleError as error:
                # Health tells of it. What is known stays right, since the model before serves on.
                logger.warning("the manifest of %s cannot be read: %s", champion.version, error)


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_time(time_ms)

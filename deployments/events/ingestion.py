"""Ingestion: the ingress of `events`. An answer of 200 means that the event is durable and in the user's features."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from data.fields.json_keys import key_twice, marked, repeated_key, without_repeats, words_of
from deployments.access.access import Access
from deployments.access.caller import Caller, only_own
from deployments.http.deadline import Deadlines
from deployments.http.errors import ROOM_RETRY_S, ApiError, invalid_field, parse_json, store_error, validation_error
from deployments.http.schemas import id_text, iso_time
from deployments.replica.control_watch import ControlWatch
from deployments.replica.request_metrics import FLUSH_S, RequestMetrics
from deployments.replica.user_groups import GroupCounts
from features.items.catalogue import Catalogue
from features.recording.event import Event, EventResult
from features.recording.event_request import EventError, EventRequest, EventRules, UnknownItem, checked_event
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.disk_space import read_disk_space
from features.redis.errors import StoreError
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION, read_slots
from models.bundle.arrays import BundleError
from models.bundle.reading import read_manifest

T = TypeVar("T")
logger = logging.getLogger("ray.serve")
BATCH_LIMIT = 1000
STORE_SHARE = 0.9
"""How much of the deadline an event waits for the store: unlike a list, it has nothing to fall back on."""


class Ingestion:
    """Validates events and hands them to the store. Those that arrive together share one disk write there.

    Args:
        settings: where the store is, deadlines, and whether the catalogue is closed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._types = load_event_types(settings.data.events)
        self._rules = EventRules(self._types, settings.store.max_future_s, settings.data.open_catalogue)
        store = settings.store.model_copy(update={"timeout_s": settings.serving.deadline_s * STORE_SHARE})
        client = connect(store, settings.store_url)
        keys = keys_of(store)
        self._store = OnlineStore(client, keys, store, self._types)
        # Batches have a connection of their own: answers come in order, and one event must not wait for a thousand
        # others.
        self._batch_store = OnlineStore(connect(store, settings.store_url), keys, store, self._types)
        # Batches go one at a time: one that only waits for others must not run into the store's timeout.
        self._one_batch = asyncio.Semaphore(1)
        self._recording: set[asyncio.Task[Any]] = set()
        self._client, self._keys = client, keys
        self._catalogue = Catalogue(client, keys, types=())
        self.access = Access(settings, client, keys)
        self._champion: str | None = None
        self._trained_ms = 0  # when the champion was; until it is known, the items of the data set count as learned
        self.metrics = RequestMetrics(client, keys, "ingestion", settings.tracing.endpoint is not None)
        self._write_time = self.metrics.stage("event")
        self._groups = GroupCounts(self.metrics.counts, settings.alerts.p99_ms / 1000)
        self._deadlines = Deadlines(settings.serving.deadline_s)
        self._no_room: str | None = None  # why events are refused, while they are
        self._look_at_disk()
        self._watch = ControlWatch(
            client,
            keys,
            settings.serving.watch_s,
            on_slots=self._follow_slots,
            on_catalogue=self._follow_catalogue,
            on_access=self.access.follow,
            on_beat=(FLUSH_S, self._beat),
        )

    async def start(self) -> None:
        await self._watch.start()
        # A replica also starts while the store is down, and asks it again at each request.
        with contextlib.suppress(StoreError):
            await self._store.prepare()

    async def stop(self) -> None:
        """Follow nothing any more, and hang up."""
        await self._watch.stop()
        await asyncio.gather(*self._recording, return_exceptions=True)
        await self.access.aclose()
        for store in (self._store, self._batch_store):
            await store.client.aclose()

    def check_health(self) -> None:
        self._watch.check_health()

    async def record(self, request: EventRequest, event_id: str) -> bytes:
        """Record one event and answer as JSON.

        Args:
            event_id: the client's, or the one that the event gets for want of it.

        Raises:
            ApiError: 404 unknown item in a closed catalogue, 422 a field is wrong, 503 the disk is nearly full, 504.
            StoreError: the store is down, or the id names another event.
        """
        started = time.perf_counter()
        with self._groups.answering(id_text(request.user_id)):
            self._check_room()
            event = self._event(request, event_id)
            [result] = await self._within_deadline(self._until_known(self._record(self._store, [event])))
            if isinstance(result, StoreError):
                raise result
        self._write_time.observe(time.perf_counter() - started)
        return orjson.dumps(self._answer(event, result))

    async def record_batch(self, body: bytes, request_id: str, caller: Caller | None = None) -> bytes:
        """Record up to 1,000 events, each accepted or refused on its own, by index.

        Args:
            caller: whose limit counts the events, and for whom it may ask; None for nobody in particular.

        Raises:
            ApiError: 422 the batch as a whole is wrong, 429 the caller's limit does not hold all of its events; nothing
                was recorded then, 503 the disk is nearly full.
        """
        with self._groups.answering(f"client {caller.name if caller else ''}"):
            return await self._record_batch(body, request_id, caller)

    async def _record_batch(self, body: bytes, request_id: str, caller: Caller | None) -> bytes:
        self._check_room()
        rows, repeated = self._rows(body)
        if caller is not None and caller.limit is not None:
            await caller.limit.take_batch(len(rows))
        answers: list[dict[str, object] | None] = [None] * len(rows)
        events: dict[int, Event] = {}
        for index, row in enumerate(rows):
            try:
                if index in repeated:
                    raise invalid_field(words_of(repeated[index]), repeated[index])
                request = EventRequest.model_validate(row)
                only_own(request.user_id, caller)
                event_id = request.event_id or fallback_event_id(request_id, _row_bytes(row), index)
                events[index] = self._event(request, event_id)
            except ValidationError as error:
                answers[index] = _refusal(validation_error(error.errors(include_url=False, include_context=False)))
            except ApiError as error:
                answers[index] = _refusal(error)
        results = await self._within_deadline(self._record_many(list(events.values())))
        for (index, event), result in zip(events.items(), results, strict=True):
            if isinstance(result, StoreError):
                answers[index] = _refusal(store_error(result))
            else:
                answers[index] = self._answer(event, result)
        accepted = sum(answer is not None and answer["status"] == "accepted" for answer in answers)
        if accepted < len(rows):
            self.metrics.counts["events_refused"] += len(rows) - accepted
        return orjson.dumps({"accepted": accepted, "refused": len(rows) - accepted, "results": answers})

    def _check_room(self) -> None:
        if self._no_room is not None:
            raise ApiError(503, "storage_full", self._no_room, retry_after_s=ROOM_RETRY_S)

    async def _beat(self) -> None:
        self._look_at_disk()
        await self.metrics.flush()

    def _look_at_disk(self) -> None:
        space = read_disk_space(self.settings)
        no_room = space.problem if space is not None and space.refuses else None
        if (no_room is None) is not (self._no_room is None):
            logger.warning(no_room or "there is room on the disk of the online store again: events are recorded")
        self._no_room = no_room

    def _count(self, event: Event, result: EventResult) -> None:
        counts = self.metrics.counts
        if result.duplicate:
            counts["events_duplicate"] += 1
            return
        counts[f"events:{event.event_type}"] += 1
        if "profile_updated" in result.actions:  # Otherwise a rebuild is under way, which applies it at its end.
            counts["features_refreshed"] += 1

    def _rows(self, body: bytes) -> tuple[list[object], dict[int, str]]:
        """The entries of a batch, and the keys that come twice by the index of their entry. Raises ApiError 422."""
        try:
            content = parse_json(body)
        except ValueError as error:
            raise invalid_field(f"the body is not valid JSON: {error}", None) from None
        looks_well = without_repeats(body, content)
        if not looks_well:
            content = marked(body, content)
        rows = content.get("events") if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise invalid_field('events: give a list, as in {"events": [...]}', "events")
        if unknown := set(content) - {"events"}:
            raise invalid_field(f"unknown field {sorted(unknown)[0]!r}; leave it out", sorted(unknown)[0])
        if (twice := key_twice(content)) is not None:
            raise invalid_field(words_of(twice), twice)
        if not 1 <= len(rows) <= BATCH_LIMIT:
            raise invalid_field(f"events: give 1 to {BATCH_LIMIT} events, not {len(rows)}", "events")
        if looks_well:
            return rows, {}
        found = ((index, repeated_key(row)) for index, row in enumerate(rows))
        return rows, {index: twice for index, twice in found if twice is not None}

    async def _record_many(self, events: list[Event]) -> list[EventResult | StoreError]:
        # The wait for its turn ends with the deadline. Once it is sent, the next one waits for its end.
        await self._one_batch.acquire()
        return await self._until_known(self._record_in_turn(events))

    async def _record_in_turn(self, events: list[Event]) -> list[EventResult | StoreError]:
        try:
            return await self._record(self._batch_store, events)
        finally:
            self._one_batch.release()

    async def _record(self, store: OnlineStore, events: list[Event]) -> list[EventResult | StoreError]:
        """Record events and count those that were: for each its result, or the error for which it was not."""
        try:
            results = await store.record_events(events)
        except StoreError as error:
            return [error] * len(events)
        for event, result in zip(events, results, strict=True):
            if not isinstance(result, StoreError):
                self._count(event, result)
        return results

    async def _until_known(self, recording: Coroutine[Any, Any, T]) -> T:
        """The result of a recording, which goes on where its request ends before: at the deadline, or because the
        client has gone. The store records what was sent all the same, and a retry would count as a duplicate alone."""
        task = asyncio.get_running_loop().create_task(recording)
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        return await asyncio.shield(task)

    async def _within_deadline(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` within the deadline. Raises ApiError 504; the event may be recorded all the same, and the client
        may repeat it with the same id."""
        try:
            return await self._deadlines.run(work)
        except TimeoutError:
            limit = self.settings.serving.deadline_s
            message = f"no answer within {limit} s; repeat it with the same event_id, it will count once"
            raise ApiError(504, "deadline_exceeded", message, retry_after_s=1) from None

    def _event(self, request: EventRequest, event_id: str) -> Event:
        """The event that a request means. Raises ApiError for what the schema cannot check: type, item, value, time."""
        try:
            return checked_event(request, event_id, self._rules, self._catalogue.items, clock.now_ms())
        except UnknownItem as error:
            raise ApiError(404, "unknown_item", str(error), error.field) from None
        except EventError as error:
            raise invalid_field(str(error), error.field) from None

    def _answer(self, event: Event, result: EventResult) -> dict[str, object]:
        return {
            "status": "accepted",
            "event_id": event.event_id,
            "processed_at": iso_time(result.processed_ms),
            "actions_taken": result.actions,
            "duplicate": result.duplicate,
            "next_recommendations_ready": "profile_updated" in result.actions and self._speaks(event),
        }

    def _speaks(self, event: Event) -> bool:
        """Whether lists can follow an event on this item: the champion may have learned it, or categories speak for
        it. An item of neither kind waits for the next training."""
        item = self._catalogue.items.get(event.item_id)
        return item is not None and (bool(item.categories) or item.created_ms <= self._trained_ms)

    async def _follow_slots(self) -> None:
        champion = (await read_slots(self._client, self._keys)).get(CHAMPION)
        if champion is None or champion.version == self._champion:
            return
        try:
            self._trained_ms = (await asyncio.to_thread(read_manifest, champion.path)).created_ms
            self._champion = champion.version
        except BundleError as error:
            logger.warning("the manifest of %s cannot be read: %s", champion.version, error)

    async def _follow_catalogue(self) -> None:
        await self._catalogue.refresh()


def fallback_event_id(request_id: str, body: bytes, index: int | None = None) -> str:
    """The id of an event whose client gave none.

    It is the same in every try of one request, so that the proxy's retry after a replica died is a duplicate and not a
    second event. The body is part of it, since a client may reuse its own request ids.
    """
    digest = hashlib.blake2b(request_id.encode() + b"\0" + body, digest_size=12)
    suffix = "" if index is None else f"-{index}"
    return f"auto-{digest.hexdigest()}{suffix}"


def _row_bytes(row: object) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # a whole number of more than 64 bits, which no field's range allows
        return repr(row).encode()


def _refusal(error: ApiError) -> dict[str, object]:
    return {"status": "refused", "error": error.content()}

"""Users: what is kept of one, page by page over all, with attributes; export and erasure."""

import math
from typing import Any

from configs import clock
from data.event_log import EventLog
from deployments.catalogue.answers import (
    CatalogueUsers,
    ErasedView,
    FoundUser,
    FoundUsers,
    HistoryEntry,
    UserView,
)
from deployments.catalogue.cursors import read_cursor, write_cursor
from deployments.catalogue.items import Items
from deployments.catalogue.typed_ids import IdTypes, typed_export
from deployments.http.errors import ApiError, invalid_field
from deployments.http.schemas import iso_time
from features.items.item_request import DescriptionError, UserRequest, checked_attributes
from features.recording.online_store import OnlineStore
from features.users.erasure import erase_user, export_user
from features.users.history import decode_history, decode_seen
from features.users.user_attributes import count_users, list_users, put_user_attributes, read_user_attributes

ERASURE_WAIT_S = 20.0


class Users:
    """Users as people and programs see and describe them.

    Args:
        items: knows titles, and the attributes that users may carry.
    """

    def __init__(self, store: OnlineStore, log: EventLog, ids: IdTypes, items: Items) -> None:
        self._store = store
        self._log = log
        self._ids = ids
        self._items = items

    async def user(self, user_id: str) -> UserView:
        """What the store holds of a user. Raises ApiError 404 for one without events and attributes."""
        [features] = await self._store.read_users([user_id])
        attributes = await read_user_attributes(self._store.client, self._store.keys, user_id)
        if features.version == 0 and attributes is None:
            raise ApiError(404, "not_found", f"no event of user {user_id!r} is known", "user_id")
        types = self._store.event_types
        history = decode_history(features.history)
        columns = (history.times_ms.tolist(), history.values.tolist(), history.codes.tolist())
        now_ms = clock.now_ms()
        affinities = features.affinities(now_ms)
        entries = [
            HistoryEntry(
                item_id=self._ids.item(item_id.decode()),
                title=self._items.title(item_id.decode()),
                event_type=types.names.get(code, str(code)),
                value=None if math.isnan(value) else value,
                time=iso_time(int(time_ms)),
            )
            for item_id, time_ms, value, code in zip(history.item_ids, *columns, strict=True)
        ]
        return UserView(
            user_id=self._ids.user(user_id),
            version=features.version,
            attributes=attributes or {},
            first_seen=_iso(features.first_ms),
            last_seen=_iso(features.last_ms),
            refreshed_at=_iso(features.processed_ms),
            events=features.counters(types),
            activity=features.activity(now_ms),
            affinities=dict(sorted(affinities.items(), key=lambda pair: -pair[1])),
            history=entries[::-1],
            older_seen=len(decode_seen(features.older_seen)),
        )

    async def put(self, user_id: str, request: UserRequest) -> UserView:
        """Describe a user, instead of all that was said before. Raises ApiError 422 naming the attribute."""
        self._items.require_room()
        try:
            attributes = checked_attributes(request.attributes, self._items.catalogue.user_schema)
        except DescriptionError as error:
            raise invalid_field(str(error), error.field) from None
        await self._store.prepare()
        await put_user_attributes(self._store.client, self._store.keys, {user_id: attributes})
        return await self.user(user_id)

    async def find(self, query: str, limit: int, cursor: str | None) -> FoundUsers:
        """A page of users whose ids begin with `query`. Raises ApiError 422 for a bad cursor."""
        after = None if cursor is None else read_cursor(f"users {query}", cursor)
        if after is not None and not isinstance(after, str):
            raise invalid_field("cursor: give next_cursor of the page before, or leave it out", "cursor")
        store = self._store
        page = await list_users(store.client, store.keys, store.event_types, limit, after, query)
        return FoundUsers(
            total=page.total,
            users=[
                FoundUser(
                    user_id=self._ids.user(user.user_id),
                    events=user.events,
                    first_seen=_iso(user.first_ms),
                    last_seen=_iso(user.last_ms),
                    attributes=user.attributes,
                )
                for user in page.users
            ],
            next_cursor=None if page.last_id is None else write_cursor(f"users {query}", page.last_id),
        )

    async def summary(self) -> CatalogueUsers:
        """How many users there are, and their attributes."""
        total = await count_users(self._store.client, self._store.keys)
        return CatalogueUsers(total=total, attributes=dict(self._items.catalogue.user_schema))

    async def erase(self, user_id: str) -> ErasedView:
        """Remove the user from store, streams, log and exposures; complete when it answers. Safe to repeat.

        Raises:
            StoreBusy: a compaction or another erasure took longer than it is waited for.
        """
        done = await erase_user(self._store, self._log, user_id, wait_s=ERASURE_WAIT_S)
        return ErasedView(
            user_id=self._ids.user(user_id),
            keys=done.keys,
            stream_entries=done.stream_entries,
            log_rows=done.log_rows,
        )

    async def export(self, user_id: str) -> dict[str, Any]:
        """Everything that store and log hold of the user. Raises ApiError 404 when that is nothing."""
        found = await export_user(self._store, self._log, user_id)
        kept = ("history", "events", "exposures", "experiments", "attributes")
        if not any(found[part] for part in kept):
            raise ApiError(404, "not_found", f"nothing of user {user_id!r} is kept", "user_id")
        return typed_export(found, self._ids.user, self._ids.item)


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_time(time_ms)

"""The online store: events and exposures in, features of users out."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS, REFUSAL_AFFINITY
from configs.event_types import ByValue, EventTypes
from configs.settings import Store
from experiments.attribution import event_goals
from features.recording.event import Event, EventResult, event_digest, pack_event, unpack_result
from features.recording.exposure import Exposure, pack_exposure
from features.redis.connection import StoreClient, translate
from features.redis.errors import EventConflict, StoreError
from features.redis.keys import Keys
from features.redis.layout import check_layout
from features.redis.scripts import Call, Lua, Script, run_calls
from features.users.history import PACK_RECORD
from features.users.user_features import UserFeatures

LEDGER_LIMIT = 8192
"""Latest events of one user among which a retry is recognised, within the window."""
CATEGORY_LIMIT = 48
"""Category affinities kept per user, the strongest; keeps the user's hash in its compact encoding."""
TRENDING_LIMIT = 1000
"""Strongest items kept per partition and half-life."""
WINDOWS = tuple(ACTIVITY_HALF_LIVES_MS)
CONFLICT = 2
"""How `record_event.lua` answers an id that names another event."""
_NAN = float("nan")


class OnlineStore:
    """Writes events and exposures, reads users.

    The connection is used lazily and the layout is checked before the first use, so a replica starts while the
    store is down and works as soon as it answers.

    Args:
        client: from `features.redis.connection.connect`.
        keys: prefix and partitions as in `store`.
        store: limits and windows.
        event_types: codes and confidences.
    """

    def __init__(self, client: StoreClient, keys: Keys, store: Store, event_types: EventTypes) -> None:
        self.client = client
        self.keys = keys
        self.event_types = event_types
        self.limits = store
        self._ready = False
        partitions = range(keys.partitions)
        self._streams = [keys.events(partition) for partition in partitions]
        self._of_partition = [
            [keys.totals(number), keys.rebuilding(number), *(keys.trending(number, window) for window in WINDOWS)]
            for number in partitions
        ]
        self._users = [keys.users(partition) for partition in partitions]
        self._sums = [keys.experiment_sums(partition) for partition in partitions]
        seen = "".join("1" if seen else "0" for seen in event_types.seen_codes)
        window_ms, idle_s = store.dedupe_window_s * 1000, store.idle_user_days * 86_400
        counting = {
            "ATTRIBUTION_MS": store.attribution_window_s * 1000,
            "SESSION_GAP_MS": store.session_gap_s * 1000,
            "CLOCK_SKEW_MS": store.clock_skew_s * 1000,
            "LISTS_KEPT": store.attribution_lists,
            "COUNTED_LISTS": store.counted_lists,
        }
        self._record = Script(
            "recording/record_event",
            shared="recording/experiment",
            **counting,
            WINDOW_MS=window_ms,
            LEDGER_LIMIT=LEDGER_LIMIT,
            HISTORY_LIMIT=store.history_limit,
            SEEN_LIMIT=store.seen_limit,
            SEEN_CODES=seen,
            IDLE_S=idle_s,
            WEIGHTS=_weights_by_code(event_types),
            CATEGORY_LIMIT=CATEGORY_LIMIT,
            TRENDING_LIMIT=TRENDING_LIMIT,
            AFFINITY_HALF_LIFE=AFFINITY_HALF_LIFE_MS,
            **{f"HALF_LIFE_{number}": half_life for number, half_life in enumerate(ACTIVITY_HALF_LIVES_MS.values(), 1)},
        )
        self._log = Script(
            "recording/log_exposure",
            shared="recording/experiment",
            **counting,
            WINDOW_MS=window_ms,
            MAX_EXPOSURES=store.max_exposures,
            IDLE_S=idle_s,
        )
        self._weigh = lru_cache(maxsize=65_536)(self._weights)

    async def prepare(self) -> None:
        """Check the layout, once. Raises `LayoutError`, `StoreUnavailable`."""
        if not self._ready:
            await check_layout(self.client, self.keys)
            self._ready = True

    async def record_events(self, events: Sequence[Event]) -> list[EventResult | StoreError]:
        """Record events in one round trip: each durable, known to `store.copies` copies of the store, and visible in
        every feature when this returns.

        A timeout leaves the outcome open; the same event with the same id may be sent again and counts once.

        Returns:
            For each event its result, or the error for which it alone was not recorded: an `EventConflict` where its
            id was given to another event.

        Raises:
            StoreUnavailable: nothing was answered.
            StoreFull: nothing was recorded, for want of memory.
            KeyError: an event's type does not exist (to be refused before).
        """
        await self.prepare()
        calls = [self.event_call(event) for event in events]
        return _results(events, await run_calls(self.client, calls, confirm=True))

    async def log_exposures(self, exposures: Sequence[Exposure]) -> None:
        """Log lists before they are shown, in one round trip; an exposure sent twice in a row counts once.

        Raises:
            StoreUnavailable, StoreFull: not all were logged.
        """
        await self.prepare()
        for answer in await run_calls(self.client, [self.exposure_call(exposure) for exposure in exposures]):
            if isinstance(answer, BaseException):
                raise translate(answer) from answer

    async def read_users(self, user_ids: Sequence[str]) -> list[UserFeatures]:
        """Features of users, in order, in one round trip. Raises `StoreUnavailable`."""
        await self.prepare()
        commands: list[tuple[str, str]] = []
        for user_id in user_ids:
            user, history_key, older_key, _ = self.keys.of_user(user_id)[1]
            commands += [("HGETALL", user), ("GET", history_key), ("GET", older_key)]
        answers = await self.client.exchange(commands)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise translate(answer) from answer
        return [
            _features(flat, history, older)
            for flat, history, older in zip(answers[::3], answers[1::3], answers[2::3], strict=True)
        ]

    def event_call(self, event: Event, replay: str | None = None) -> Call:
        """The script call that records an event.

        Args:
            replay: None for a new event. Otherwise the event is only applied to the features: its stream id in the
                log, or "" when it never had one.
        """
        item_id = event.item_id
        partition, of_user = self.keys.of_user(event.user_id)
        code, weight, affinity, goals = self._weigh(event.event_type, event.value)
        value = _NAN if event.value is None else event.value
        return Call(
            self._record,
            [
                *of_user,
                self._streams[partition],
                self.keys.item(partition, item_id),
                *self._of_partition[partition],
                self.keys.user_experiments(event.user_id),
                self._sums[partition],
                self._users[partition],
                self.keys.user_attributes(event.user_id),
            ],
            [
                "live" if replay is None else replay,
                event_digest(event),
                b"" if replay is not None else pack_event(event),
                item_id,
                PACK_RECORD(event.timestamp_ms, value, code),
                weight,
                affinity,
                goals,
                event.recommendation_id or b"",
                *event.categories,
            ],
        )

    def exposure_call(self, exposure: Exposure, replay: bool = False) -> Call:
        """The script call that logs an exposure; with `replay`, that only counts its items."""
        keys, user_id = self.keys, exposure.user_id
        partition = keys.partition_of(user_id)
        script_keys = [
            keys.exposures(partition),
            keys.last_exposure(user_id),
            keys.rebuilding(partition),
            keys.exposures_trimmed(partition),
            *(keys.item(partition, item_id) for item_id in exposure.item_ids),
        ]
        args: list[Any] = [
            "replay" if replay else "live",
            exposure.recommendation_id,
            b"" if replay else pack_exposure(exposure),
            len(exposure.item_ids),
        ]
        counts = exposure.experiment is not None and not exposure.forced
        if not replay and (counts or exposure.forced):
            script_keys += [keys.user(user_id), keys.user_experiments(user_id), self._sums[partition]]
        if not replay and exposure.forced:
            args.append("")
        elif not replay and counts:
            shown = "\t".join(("", *exposure.item_ids, ""))
            args += [exposure.experiment, exposure.variant, exposure.before, int(exposure.simulated), shown]
        return Call(self._log, script_keys, args)

    def _weights(self, name: str, value: float | None) -> tuple[int, float, float, int]:
        """Code, weight for popularity, weight for category affinity, meaning for experiments; cached, since few values
        recur often."""
        code = self.event_types[name].code
        codes, values = np.array([code], np.uint8), np.array([_NAN if value is None else value])
        weight = float(self.event_types.confidence(codes, values, "preference")[0])
        refused = bool(self.event_types.is_refusal(codes, values)[0])
        goals = event_goals(self.event_types, name, value)
        return code, weight, REFUSAL_AFFINITY if refused else weight, goals

    def goals(self, name: str, value: float | None) -> int:
        """What an event means for an experiment (`experiments.attribution`)."""
        return self._weigh(name, value)[3]


def _weights_by_code(types: EventTypes) -> Lua:
    """What each type of event counts for popularity, for the script, in the precision of `EventTypes.confidence`."""
    parts = []
    for kind in types.by_name.values():
        weight = kind.preference
        if not isinstance(weight, ByValue):
            text = repr(float(np.float32(weight)))
        elif weight.linear is not None:
            text = f"{{per = {weight.linear.per!r}, max = {weight.linear.max!r}}}"
        else:
            text = "{" + ", ".join(f"{{{least!r}, {found!r}}}" for least, found in weight.steps or ()) + "}"
        parts.append(f"[{kind.code}] = {text}")
    return Lua("function() return {" + ", ".join(parts) + "} end")


def _features(flat: list[bytes] | dict[bytes, bytes], history: bytes | None, older: bytes | None) -> UserFeatures:
    fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    return UserFeatures(int(fields.get(b"ver", 0)), history, older, fields)


def conflict_words(event_id: str) -> str:
    """Why an event is refused whose id another event of its user has."""
    named = f"{event_id!r} names another event of this user"
    return f"event_id: {named}, of another item, type or value; give each event its own"


def _results(events: Sequence[Event], answers: Sequence[Any]) -> list[EventResult | StoreError]:
    """Results and errors by event; raises when there are only errors."""
    results: list[EventResult | StoreError] = []
    failed = 0
    for event, answer in zip(events, answers, strict=True):
        if isinstance(answer, BaseException):
            failed += 1
            results.append(translate(answer))
        elif answer[0] == CONFLICT:
            results.append(EventConflict(conflict_words(event.event_id)))
        else:
            results.append(unpack_result(answer))
    if failed and failed == len(results):
        first = results[0]
        assert isinstance(first, StoreError)
        raise first
    return results

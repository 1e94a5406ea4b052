"""What users do now against what they did when the present champion came to serve.

The first window of lists and events after a model's deployment is the reference, kept in the store; the latest window
of the same size is the present. So a new model starts with new windows, and what it is compared with is live traffic
and not a data set of other times and other kinds of events.

Of one user a window holds `most_of_one_user` lists and events, the latest ones. So nobody fills a window alone, however
much he does, and neither moves a measure nor hides that others do.
"""

from collections.abc import Sequence
from statistics import median

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.settings import AutopilotLimits
from deployments.autopilot.confirmation import Confirmation
from deployments.autopilot.list_judge import ListJudge, LiveEvent
from deployments.operations.monitor_views import DriftView
from experiments.statistics.performance import Change, change_since
from experiments.statistics.ratio import one_user_decides, ratio_difference
from experiments.statistics.sums import PairSums, pack_sums, unpack_sums
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from models.monitoring.drift import Shift, activity_bins, compare_windows, shared_bins, user_counts
from models.monitoring.live_quality import JudgedList

STEP = 0.1
"""Which share of a window must be new before the next look at it."""
OWN_BINS, SHARED_BINS = 30, 20
MAX_DELAY_S = 1.0
MAX_COLD_RISE = 0.1
SEED = 20260131
MEASURED = 3
"""Counts up when live quality or its windows are defined anew."""
USERS = 50
"""A window is full only once so many users are in it, or more."""


def most_of_one_user(size: int) -> int:
    """Lists, and events, of one user in a window of that size; at least 1."""
    return max(1, size // USERS)


class Reference(BaseModel):
    """The first window of a model. Users are numbers in it, since comparisons need no names."""

    model_config = ConfigDict(extra="forbid")

    version: str
    measured: int = 1
    """How it was measured; a window that was measured otherwise is not compared with."""
    users: list[int]
    items: list[str]
    types: list[str]
    categories: list[list[str]]
    cold_users: tuple[int, int]
    cold_items: list[float]
    list_users: list[int]
    taken_up: list[int]
    clicks: list[float]
    precision: list[float]


class DriftWatch:
    """Compares the latest window with the champion's first one, for one champion after another.

    Args:
        client, keys: the online store, which keeps the first windows.
        settings: sizes of windows and thresholds.
        live: the judged lists and the events.
    """

    def __init__(self, client: StoreClient, keys: Keys, settings: AutopilotLimits, live: ListJudge) -> None:
        self._client = client
        self._keys = keys
        self._settings = settings
        self._live = live
        self._version: str | None = None
        self._known_users: frozenset[str] = frozenset()
        self._known_items: frozenset[str] = frozenset()
        self._reference: Reference | None = None
        self._first_list = self._first_event = 0
        self._looked_at = 0
        self._confirmation = Confirmation(TASTE)
        self.measures: list[DriftView] = []

    async def follow(self, version: str, users: frozenset[str], items: frozenset[str]) -> None:
        """Follow another champion: take its first window from the store, or begin one. Raises `StoreError`.

        Args:
            users, items: the ids that it was trained on.
        """
        if version == self._version:
            return
        found = await self._client.run("GET", self._keys.drift_reference)
        kept = None if found is None else reference_of(found)
        self._version, self._known_users, self._known_items = version, users, items
        self._reference = kept if kept is not None and kept.version == version else None
        self._first_list, self._first_event = self._live.judged.came, self._live.events.came
        self._confirmation = Confirmation(TASTE)
        self.measures = []

    async def look(self) -> list[DriftView]:
        """Compare the windows of which enough is new. Raises `StoreError`."""
        size = self._settings.min_lists
        events = self._live.events.since(self._first_event)[-size:]
        since = self._live.judged.since(self._first_list)
        lists = [one for one in since if one.model_version == self._version][-size:]
        if self._version is None or len(events) < size or len(lists) < size:
            self.measures = _waiting(self._settings, len(events), len(lists), size, self._reference is None)
            return self.measures
        if self._reference is None:
            self._reference = self._describe(events, lists)
            await self._client.run("SET", self._keys.drift_reference, self._reference.model_dump_json())
            self._first_list, self._first_event = self._live.judged.came, self._live.events.came
            self._looked_at = self._live.events.came
            return self.measures
        # Counted after the bound on one user, who would otherwise make two looks at one window.
        if len(self._live.events.since(self._looked_at)) >= STEP * size:
            self._looked_at = self._live.events.came
            self.measures = [self._confirmation.confirm(one) for one in self._compare(self._reference, events, lists)]
        return self.measures

    @staticmethod
    def _activity(then: Reference, lists: Sequence[JudgedList], limit: float) -> DriftView:
        counts = []
        for users, taken in ((then.list_users, then.taken_up), ([one.user_id for one in lists], _taken(lists))):
            bins, n = activity_bins(taken)
            counts.append(user_counts(users, bins, n))
        return _of_shift("user_activity", compare_windows(counts[0], counts[1], limit, SEED), limit)

    def _describe(self, events: Sequence[LiveEvent], lists: Sequence[JudgedList]) -> Reference:
        numbers: dict[str, int] = {}
        users = [numbers.setdefault(event.user_id, len(numbers)) for event in events]
        return Reference(
            version=self._version or "",
            measured=MEASURED,
            users=users,
            items=[event.item_id for event in events],
            types=[event.event_type for event in events],
            categories=[list(event.categories) for event in events],
            cold_users=self._cold_users(events),
            cold_items=pack_sums(self._cold_items(events)),
            list_users=[numbers.setdefault(one.user_id, len(numbers)) for one in lists],
            taken_up=_taken(lists),
            clicks=pack_sums(click_sums(lists)),
            precision=pack_sums(precision_sums(lists)),
        )

    def _cold_users(self, events: Sequence[LiveEvent]) -> tuple[int, int]:
        users = {event.user_id for event in events}
        return len(users - self._known_users), len(users)

    def _cold_items(self, events: Sequence[LiveEvent]) -> PairSums:
        by_user: dict[str, list[int]] = {}
        for event in events:
            counts = by_user.setdefault(event.user_id, [0, 0])
            counts[0] += event.item_id not in self._known_items
            counts[1] += 1
        return _sums(list(by_user.values()))

    def _compare(self, then: Reference, events: Sequence[LiveEvent], lists: Sequence[JudgedList]) -> list[DriftView]:
        limit = self._settings.max_psi
        users = [event.user_id for event in events]
        items = [event.item_id for event in events]
        types = [event.event_type for event in events]
        categories = [event.categories for event in events]
        loss = self._settings.max_drop
        cold_now, cold_then = self._cold_users(events), then.cold_users
        return [
            _shift("items", then.users, then.items, users, items, limit),
            _shift("categories", *_spread(then.users, then.categories), *_spread(users, categories), limit),
            _shift("event_types", then.users, then.types, users, types, limit),
            self._activity(then, lists, limit),
            _delay([event.delay_s for event in events if event.delay_s is not None]),
            rise(
                "cold_users",
                binary_sums(*cold_then),
                binary_sums(*cold_now),
                "users whom the model was not trained on",
            ),
            rise(
                "cold_items",
                unpack_sums(then.cold_items),
                self._cold_items(events),
                "events on items that the model was not trained on",
            ),
            _loss("click_rate", change_since(unpack_sums(then.clicks), click_sums(lists), loss), loss),
            _loss("map_at_10", change_since(unpack_sums(then.precision), precision_sums(lists), loss), loss),
        ]


def reference_of(text: bytes) -> Reference | None:
    """The first window as it was stored; None for one that an earlier version wrote: a new one begins then."""
    try:
        found = Reference.model_validate_json(text)
    except ValidationError:
        return None
    return found if found.measured == MEASURED else None


PERFORMANCE = ("click_rate", "map_at_10")
TASTE = ("items", "categories", "cold_users", "cold_items")
"""The measures that a retraining can do something about; drift of others is only told."""


def click_sums(lists: Sequence[JudgedList]) -> PairSums:
    """Clicked lists over lists, with the user as the unit."""
    by_user: dict[str, list[float]] = {}
    for one in lists:
        counts = by_user.setdefault(one.user_id, [0.0, 0.0])
        counts[0] += one.clicked
        counts[1] += 1
    return _sums(list(by_user.values()))


def precision_sums(lists: Sequence[JudgedList]) -> PairSums:
    """Average precision over lists, with the user as the unit."""
    by_user: dict[str, list[float]] = {}
    for one in lists:
        counts = by_user.setdefault(one.user_id, [0.0, 0.0])
        counts[0] += one.precision
        counts[1] += 1
    return _sums(list(by_user.values()))


def _taken(lists: Sequence[JudgedList]) -> list[int]:
    return [one.relevant for one in lists]


def _sums(rows: Sequence[Sequence[float]]) -> PairSums:
    values = np.array(rows, np.float64).reshape(-1, 2)
    return PairSums.of(values[:, 0], values[:, 1])


def binary_sums(hits: int, n: int) -> PairSums:
    return PairSums(n, float(hits), float(hits), float(n), float(n), float(hits))


def _spread(users: Sequence[object], categories: Sequence[Sequence[str]]) -> tuple[list[object], list[str]]:
    """One entry for each event and category of its item."""
    pairs = [(user, category) for user, found in zip(users, categories, strict=True) for category in found]
    return [user for user, _ in pairs], [category for _, category in pairs]


def _shift(
    name: str,
    users: Sequence[object],
    values: Sequence[str],
    users_now: Sequence[object],
    values_now: Sequence[str],
    limit: float,
) -> DriftView:
    if not values or not values_now:
        return DriftView(name=name, value=None, threshold=limit, drifted=None, detail="no event carries any")
    first, second, n = shared_bins(list(values), list(values_now), OWN_BINS, SHARED_BINS)
    found = compare_windows(
        user_counts(list(map(str, users)), first, n), user_counts(list(map(str, users_now)), second, n), limit, SEED
    )
    return _of_shift(name, found, limit)


def _of_shift(name: str, found: Shift, limit: float) -> DriftView:
    words = f"population stability index {found.psi:.3f}, Jensen-Shannon distance {found.js:.3f}"
    if found.chance is not None:
        words += f"; {found.chance:.3f} by chance"
    value = found.psi if found.chance is None else found.psi - found.chance
    return DriftView(
        name=name, value=value, threshold=limit, p_value=found.p_value, drifted=found.drifted, detail=words
    )


def _delay(delays: Sequence[float]) -> DriftView:
    value = median(delays) if delays else None
    shown = "unknown, since the store's clock was set back" if value is None else f"{value * 1000:.0f} ms"
    return DriftView(
        name="feature_freshness_s",
        value=value,
        threshold=MAX_DELAY_S,
        drifted=None if value is None else value > MAX_DELAY_S,
        detail=f"median time from an event's arrival to the user's features: {shown}",
    )


def rise(name: str, then: PairSums, now: PairSums, words: str) -> DriftView:
    change = ratio_difference(then, now, relative=False)
    shares = f"{_percent(change.control)} then, {_percent(change.treatment)} now: {words}"
    if one_user_decides(then) or one_user_decides(now):
        return DriftView(
            name=name, value=None, threshold=MAX_COLD_RISE, drifted=None, detail=f"{shares}; {change.reason}"
        )
    if change.value is None or change.variance is None:
        # Without any variance (nobody is cold, or everybody is) the shares are compared as they are.
        known = change.control is not None and change.treatment is not None
        rise = change.treatment - change.control if known else None  # type: ignore[operator]
        return DriftView(
            name=name,
            value=rise,
            threshold=MAX_COLD_RISE,
            drifted=None if rise is None else rise > MAX_COLD_RISE,
            detail=shares,
        )
    width = 3.9 * change.variance**0.5
    low, high = change.value - width, change.value + width
    return DriftView(
        name=name,
        value=change.value,
        threshold=MAX_COLD_RISE,
        low=low,
        high=high,
        drifted=change.value > MAX_COLD_RISE and low > 0,
        detail=shares,
    )


def _loss(name: str, change: Change, limit: float) -> DriftView:
    if change.relative is None:
        return DriftView(name=name, value=None, threshold=-limit, drifted=None, detail=change.reason or "undefined")
    return DriftView(
        name=name,
        value=change.relative,
        threshold=-limit,
        low=change.low,
        high=change.high,
        drifted=change.dropped,
        detail=f"{change.then:.4f} when it was deployed, {change.now:.4f} now ({change.relative:+.1%})",
    )


def _waiting(settings: AutopilotLimits, events: int, lists: int, size: int, first: bool) -> list[DriftView]:
    which = "the reference window" if first else "the present window"
    words = (
        f"{which} holds {events} of {size} events and {lists} of {size} judged lists, of one user at most "
        f"{most_of_one_user(size)} of each"
    )
    names = ("items", "categories", "event_types", "user_activity")
    views = [DriftView(name=name, value=None, threshold=settings.max_psi, drifted=None, detail=words) for name in names]
    return views + [
        DriftView(name=name, value=None, threshold=-settings.max_drop, drifted=None, detail=words)
        for name in PERFORMANCE
    ]


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{share:.1%}"

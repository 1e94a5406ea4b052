"""What became of the lists that were served: each is judged once, by what its user did within a time after it.

A list is open from when it was shown until `window_ms` later. An event that names the list, or else the user's latest
open list, belongs to it. When it closes,

    clicked     anything of it was taken up
    relevant    items that the user took up, on the list or not
    hit         one of them is among the first ten; undefined without relevant items
    precision   the live average precision of the relevant ones among the first ten (`experiments.average_precision`)

A list whose variant was forced for a test is followed, so that events which name it are known, and not judged. Of one
user the first `LISTS_A_DAY` lists of a day and model are judged: a robot that asks without end is one user among
others.

The time is that of the store's streams, so a reader that starts again comes to the same judgement, but for counting a
day's lists of a user anew.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from experiments.average_precision import live_average_precision
from models.monitoring.per_user import UserLimit

CUTOFF = 10
MILLION = 1_000_000
LISTS_A_DAY = 10
SUMS = ("lists", "clicked", "judged", "hits", "ranked", "average_precision", "diverse", "diversity")


@dataclass(slots=True)
class Shown:
    """A list while it is open."""

    recommendation_id: str
    user_id: str
    shown_ms: int
    model_version: str | None
    item_ids: tuple[str, ...]
    forced: bool = False
    taken: set[str] = field(default_factory=set)
    relevant: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class JudgedList:
    """A list that has closed. `hit` is None where nothing followed; `relevant` is how much did."""

    user_id: str
    shown_ms: int
    model_version: str | None
    item_ids: tuple[str, ...]
    clicked: bool
    hit: bool | None
    precision: float
    relevant: int = 0


class LiveQuality:
    """Follows lists and events of users. One user's must come in order.

    Args:
        window_ms: how long a list is open.
    """

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._by_user: dict[str, list[Shown]] = {}
        self._order: deque[Shown] = deque()
        self._limit = UserLimit(LISTS_A_DAY)

    @property
    def open_lists(self) -> int:
        return len(self._order)

    def show(self, shown: Shown) -> None:
        """Open a list that was shown."""
        self._by_user.setdefault(shown.user_id, []).append(shown)
        self._order.append(shown)

    def take_up(self, user_id: str, item_id: str, time_ms: int, recommendation_id: str | None = None) -> None:
        """Note that a user took an item up (any event but a refusal)."""
        found = [one for one in self._by_user.get(user_id, ()) if one.shown_ms + self._window_ms >= time_ms]
        if not found:
            return
        named = next((one for one in found if one.recommendation_id == recommendation_id), None)
        named = named or next((one for one in found[::-1] if not one.forced), None)
        if named is None:
            return
        named.relevant.add(item_id)
        if item_id in named.item_ids:
            named.taken.add(item_id)

    def close(self, now_ms: int) -> list[JudgedList]:
        """The lists whose time is over at `now_ms`, in the order in which they were shown."""
        judged = []
        while self._order and self._order[0].shown_ms + self._window_ms < now_ms:
            shown = self._order.popleft()
            mine = self._by_user[shown.user_id]
            mine.remove(shown)
            if not mine:
                del self._by_user[shown.user_id]
            if not shown.forced and self._limit.admits(shown.user_id, (shown.model_version, day_of(shown.shown_ms))):
                judged.append(_judge(shown))
        return judged

    def forget(self) -> int:
        """Drop the open lists unjudged. Returns how many there were."""
        dropped = len(self._order)
        self._by_user.clear()
        self._order.clear()
        return dropped


def category_diversity(categories: Sequence[Sequence[str]]) -> float | None:
    """1 - mean cosine between the items' categories, over all pairs of a list.

    Args:
        categories: the categories of each item; items without any are left out.

    Returns:
        0 where all are alike, 1 where none share any; None with fewer than two items.
    """
    known = [one for one in categories if one]
    n = len(known)
    if n < 2:
        return None
    total: dict[str, float] = {}
    for one in known:
        weight = len(one) ** -0.5
        for category in one:
            total[category] = total.get(category, 0.0) + weight
    # |sum of unit vectors|^2 holds each pair twice and each item with itself once.
    return 1.0 - (sum(value * value for value in total.values()) - n) / (n * (n - 1))


def day_of(time_ms: int) -> str:
    """The UTC day of a time, as 2026-01-31."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def add_up(
    judged: Sequence[JudgedList], categories: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], dict[str, int]]:
    """Whole-numbered sums by (model version, day): `lists`, `clicked`, `judged` (those that something followed),
    `hits`, `ranked` (all of them), and in millionths `average_precision`, `diversity`; `diverse` counts the lists
    behind the latter."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for one in judged:
        sums = found.setdefault((one.model_version or "none", day_of(one.shown_ms)), dict.fromkeys(SUMS, 0))
        sums["lists"] += 1
        sums["clicked"] += one.clicked
        sums["ranked"] += 1
        sums["average_precision"] += round(one.precision * MILLION)
        if one.hit is not None:
            sums["judged"] += 1
            sums["hits"] += one.hit
        diversity = category_diversity([categories.get(item_id, ()) for item_id in one.item_ids])
        if diversity is not None:
            sums["diverse"] += 1
            sums["diversity"] += round(diversity * MILLION)
    return found


def _judge(shown: Shown) -> JudgedList:
    hits = [item_id in shown.relevant for item_id in shown.item_ids[:CUTOFF]]
    return JudgedList(
        shown.user_id,
        shown.shown_ms,
        shown.model_version,
        shown.item_ids,
        clicked=bool(shown.taken),
        hit=any(hits) if shown.relevant else None,
        precision=live_average_precision(hits),
        relevant=len(shown.relevant),
    )

"""Which list an event came from, and what that counts: one user's lists and events, in the order of the store.

An event that names its list (`recommendation_id`) belongs to that list if its item is on it. One that names none
belongs to the user's latest list with its item, within the window. What counts as time is when the store took list and
event in, on its own clock: clients' clocks may be wrong by any amount. An event that names no list of the user and
says of itself that it happened before the user's first list (beyond a tolerance for clocks) is a late delivery, and not
counted at all. Of what the store took in within one millisecond, events come first.

This is the rule in plain Python. `features/redis/lua/experiment.lua` applies the same one as events arrive; rebuilds,
exports and tests use this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from configs.event_types import EventTypes
from experiments.user_totals import PRECISION_SCALE, RATING_SCALE, UserTotals

DEPTH = 10
"""Places of a list that the live MAP looks at."""
CLICK, ENGAGE, CONVERT, RATE = 1, 2, 4, 8
"""What an event can mean for an experiment; added up."""

ENGAGED_CONFIDENCE = 0.5
"""Confidence from which an event is more than a look."""


def event_goals(types: EventTypes, name: str, value: float | None) -> int:
    """What an event of a type and value means, as a sum of the above."""
    codes, values = np.array([types[name].code], np.uint8), np.array([np.nan if value is None else value])
    confidence = float(types.confidence(codes, values, "preference")[0])
    goals = 0
    if not types.is_refusal(codes, values)[0]:
        goals = CLICK * (confidence > 0) + ENGAGE * (confidence >= ENGAGED_CONFIDENCE)
    return goals + CONVERT * types[name].conversion + RATE * (name == "rating" and value is not None)


@dataclass(frozen=True)
class Rule:
    """The limits by which an event belongs to a list.

    Attributes:
        window_ms: how long after a list an event can belong to it.
        session_gap_ms: a longer pause between lists begins a new session.
        clock_skew_ms: how far before the user's first list an event may claim to have happened.
        lists_kept: latest lists of a user to which events can belong.
    """

    window_ms: int
    session_gap_ms: int
    clock_skew_ms: int
    lists_kept: int


@dataclass
class ShownList:
    """One list, and whether its items were taken up."""

    recommendation_id: str
    time_ms: int
    item_ids: Sequence[str]
    clicked: bool = False
    engaged: bool = False
    hits: list[bool] = field(default_factory=lambda: [False] * DEPTH)
    """Whether the item at each of the first `DEPTH` places was engaged with."""


@dataclass
class UserReplay:
    """A user's experiments, list by list and event by event.

    Attributes:
        ends: experiment -> the last moment that counts, for those that were stopped.
        totals: experiment -> what it has counted.
        current: the experiment of the latest list; events count for this one.
        lists: latest lists of the current experiment, newest first.
    """

    rule: Rule
    ends: Mapping[str, int] = field(default_factory=dict)
    totals: dict[str, UserTotals] = field(default_factory=dict)
    current: str | None = None
    lists: list[ShownList] = field(default_factory=list)

    def expose(
        self,
        experiment: str,
        variant: str,
        recommendation_id: str,
        time_ms: int,
        item_ids: Sequence[str],
        before: int,
        simulated: bool,
    ) -> None:
        """Count a list that was shown to the user."""
        if self._over(experiment, time_ms):
            return
        totals = self.totals.get(experiment)
        if totals is None:
            totals = self.totals[experiment] = UserTotals(variant, time_ms, time_ms, before, simulated)
        totals.mixed |= totals.variant != variant
        if totals.lists == 0 or time_ms - totals.last_ms > self.rule.session_gap_ms:
            totals.sessions += 1
        totals.lists += 1
        totals.last_ms = time_ms
        older = self.lists if self.current == experiment else []
        self.current = experiment
        self.lists = [ShownList(recommendation_id, time_ms, item_ids), *older[: self.rule.lists_kept - 1]]

    def event(
        self, time_ms: int, item_id: str, said_ms: int, recommendation_id: str | None, goals: int, rating: float | None
    ) -> None:
        """Count an event of the user that was recorded.

        Args:
            time_ms: when the store took it.
            said_ms: when it happened, as it says.
            goals: sum of CLICK, ENGAGE, CONVERT and RATE.
            rating: the rating that comes with RATE.
        """
        if self.current is None or self._over(self.current, time_ms):
            return
        totals = self.totals[self.current]
        named = next((shown for shown in self.lists if shown.recommendation_id == recommendation_id), None)
        if named is None and said_ms < totals.first_ms - self.rule.clock_skew_ms:
            return
        totals.events += 1
        shown = named
        if recommendation_id is None:
            shown = next((shown for shown in self.lists if item_id in shown.item_ids), None)
        if shown is None or item_id not in shown.item_ids or time_ms - shown.time_ms > self.rule.window_ms:
            return
        if goals & CLICK and not shown.clicked:
            shown.clicked = True
            totals.clicked += 1
        if goals & ENGAGE:
            if not shown.engaged:
                shown.engaged = True
                totals.engaged += 1
            place = list(shown.item_ids).index(item_id)
            if place < DEPTH and not shown.hits[place]:
                before = average_precision(shown.hits)
                shown.hits[place] = True
                totals.precision += average_precision(shown.hits) - before
        if goals & CONVERT:
            totals.conversions += 1
        if goals & RATE and rating is not None:
            totals.rated += 1
            totals.ratings += int(rating * RATING_SCALE + 0.5)

    def _over(self, experiment: str, time_ms: int) -> bool:
        return time_ms > self.ends.get(experiment, time_ms)


def average_precision(hits: Sequence[bool]) -> int:
    """Mean of the precisions at the hits, in ten-thousandths, rounded; 0 without a hit."""
    found, total = 0, 0.0
    for place, hit in enumerate(hits, start=1):
        if hit:
            found += 1
            total += found / place
    return int(total / found * PRECISION_SCALE + 0.5) if found else 0

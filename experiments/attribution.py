"""Which list an event came from, and what that counts: one user's lists and events, in the order of the store.

An event that names its list (`recommendation_id`) belongs to that list if its item is on it. One that names none
belongs to the user's latest list with its item, within the window. What counts as time is when the store took list and
event in, on its own clock: clients' clocks may be wrong by any amount. An event that names no list of the user and
says of itself that it happened before the user's first list (beyond a tolerance for clocks) is a late delivery, and not
counted at all. Of what the store took in within one millisecond, events come first.

Of each user the first lists and the first ratings count, up to a number of each (`Rule.counted_lists`), so that no
robot outweighs the others in a ratio. A list whose variant was forced for a test counts nowhere, and neither does an
event that names it.

This is the rule in plain Python. `features/redis/lua/recording/experiment.lua` applies the same one as events arrive;
rebuilds, exports and tests use this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from configs.event_types import EventTypes
from experiments.average_precision import DEPTH, live_average_precision
from experiments.user_totals import PRECISION_SCALE, RATING_SCALE, UserTotals

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
        counted_lists: of a user the first lists, and the first ratings, that count in an experiment.
    """

    window_ms: int
    session_gap_ms: int
    clock_skew_ms: int
    lists_kept: int
    counted_lists: int


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
    forced: bool = False
    """Whether its variant was forced: events that name it count nowhere. Its items are not kept."""


@dataclass
class UserReplay:
    """A user's experiments, list by list and event by event.

    Attributes:
        ends: experiment -> the last moment that counts, for those that were stopped.
        totals: experiment -> what it has counted.
        current: the experiment of the latest list; events count for this one.
        lists: latest lists of the current experiment, and forced ones, newest first.
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
        totals.last_ms = time_ms
        shown = ShownList(recommendation_id, time_ms, item_ids)
        if totals.lists < self.rule.counted_lists:
            totals.lists += 1
        else:
            # Events still belong to it, and find everything taken up already.
            shown.clicked, shown.engaged, shown.hits = True, True, [True] * DEPTH
        older = self.lists if self.current == experiment else [one for one in self.lists if one.forced]
        self.current = experiment
        self.lists = [shown, *older[: self.rule.lists_kept - 1]]

    def expose_forced(self, recommendation_id: str, time_ms: int) -> None:
        """Remember a list whose variant was forced, so that events which name it are known."""
        shown = ShownList(recommendation_id, time_ms, (), True, True, [True] * DEPTH, forced=True)
        self.lists = [shown, *self.lists[: self.rule.lists_kept - 1]]

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
        if named is not None and named.forced:
            return
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
        if goals & RATE and rating is not None and totals.rated < self.rule.counted_lists:
            totals.rated += 1
            totals.ratings += int(rating * RATING_SCALE + 0.5)

    def _over(self, experiment: str, time_ms: int) -> bool:
        return time_ms > self.ends.get(experiment, time_ms)


def average_precision(hits: Sequence[bool]) -> int:
    """The live average precision in ten-thousandths, rounded."""
    return int(live_average_precision(hits) * PRECISION_SCALE + 0.5)

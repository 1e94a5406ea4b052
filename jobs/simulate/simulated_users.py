"""Simulated users with a known taste: what they take up of a list, and how likely that was.

Each copies a real user of the data set: some of what the user did is the history that the system gets to know, the rest
is the taste that it has to guess. A simulated user looks at a place with a chance that falls with its rank (position
bias), and takes up what is seen with a chance by taste; both, and some clicks on anything, are noise. Since the chances
are known, so is the true value of every list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from configs.event_types import EventTypes

LIKED, INDIFFERENT, DISLIKED, UNKNOWN = 0.35, 0.12, 0.04, 0.02
"""Chance of taking up an item that is looked at, by what the real user did with it; unknown: nothing."""
LIKED_FROM = 0.8
"""Share of the largest confidence in the data from which on an item is liked; with ratings, those of 4 and more."""
REACHES_GOAL = 0.5
"""Chance that what was taken up is also rated, bought, or whatever the goal of the data set is."""
MANY_ITEMS = 40
"""A taste is copied from users with so many items, where there are at least `ENOUGH_USERS` of them."""
ENOUGH_USERS = 20
FEWEST_ITEMS = 6
LONGEST_HISTORY = 30


@dataclass(frozen=True)
class Goal:
    """What users of the data set do at best, and its usual value; None where it carries none."""

    event_type: str
    value: float | None


@dataclass(frozen=True)
class PastEvent:
    """What the real user did with an item; `time_ms` since 1970."""

    item_id: str
    event_type: str
    value: float | None
    time_ms: int


@dataclass(frozen=True)
class Taste:
    """How much a user likes an item: the chance of taking it up, and the value of what was done with it."""

    appeal: float
    value: float | None


@dataclass(frozen=True)
class SimulatedUser:
    """One user.

    Attributes:
        user_id: begins with the prefix by which simulated users are known.
        history: what the system is told first, by time.
        taste: by item; without those of the history, unless the goal leaves an item open to be taken up again.
        goal: what the user does with half of what is taken up.
    """

    user_id: str
    history: tuple[PastEvent, ...]
    taste: Mapping[str, Taste]
    goal: Goal


@dataclass(frozen=True)
class Drift:
    """A change of everybody's taste: from a moment on, only some items are liked."""

    name: str
    items: frozenset[str]


@dataclass(frozen=True)
class Taken:
    """An event on an item that a user took up."""

    item_id: str
    event_type: str
    value: float | None


def draw_users(
    interactions: pd.DataFrame, types: EventTypes, count: int, seed: int, run: str, time_trusted: bool = True
) -> list[SimulatedUser]:
    """Copies of real users, drawn with replacement.

    Args:
        interactions: the data set's.
        types: what its events mean.
        run: part of every id, so that two simulations share no user.
        time_trusted: False where the times say nothing; the history then has none (0).

    Raises:
        ValueError: nobody has done enough.
    """
    pairs = _pairs(interactions, types)
    goal = _goal(interactions, types)
    again = not types.seen_codes[types[goal.event_type].code]
    per_user = pairs.groupby("user_id").size()
    chosen = per_user[per_user >= MANY_ITEMS]
    if len(chosen) < ENOUGH_USERS:
        able = per_user[per_user >= FEWEST_ITEMS]
        chosen = able[able >= able.nlargest(ENOUGH_USERS).min()] if len(able) else able
    if chosen.empty:
        raise ValueError(f"no user of the data set has events with {FEWEST_ITEMS} items: there is no taste to copy")
    names = sorted(str(user) for user in chosen.index)
    generator = np.random.default_rng(seed)
    groups = {str(user): rows for user, rows in pairs[pairs["user_id"].isin(chosen.index)].groupby("user_id")}
    found = []
    for number in range(count):
        rows = groups[names[int(generator.integers(len(names)))]]
        order = generator.permutation(len(rows))
        half = len(rows) // 2
        # Activity differs between users, which is what the covariate of the analysis is about.
        known = order[: min(half, int(generator.integers(5, LONGEST_HISTORY + 1)))]
        columns = (rows[name].tolist() for name in ("item_id", "event_type", "value", "timestamp_ms", "appeal"))
        items, kinds, values, times, appeals = columns
        history = [
            PastEvent(str(items[place]), kinds[place], _value(values[place]), int(times[place]) * time_trusted)
            for place in known
        ]
        liked = range(len(rows)) if again else order[half:]
        found.append(
            SimulatedUser(
                f"sim-{run}-{number}",
                tuple(sorted(history, key=lambda event: (event.time_ms, event.item_id))),
                {
                    str(items[place]): Taste(
                        appeals[place], _value(values[place]) if kinds[place] == goal.event_type else None
                    )
                    for place in liked
                },
                goal,
            )
        )
    return found


def chances(user: SimulatedUser, item_ids: Sequence[str], bias: float, drift: Drift | None) -> np.ndarray:
    """(k,) chance of each item of a list to be taken up, in its place.

    Args:
        bias: places are looked at with chance rank^-bias; 0 is none.
        drift: the change of taste, once it has happened; None before.
    """
    looked = np.arange(1, len(item_ids) + 1, dtype=np.float64) ** -bias
    return looked * np.array([_appeal(user, item_id, drift) for item_id in item_ids])


def true_value(taken_up: np.ndarray) -> float:
    """Chance that at least one item of a list is taken up: what click-through measures."""
    return float(1.0 - np.prod(1.0 - taken_up))


def take_up(
    user: SimulatedUser,
    item_ids: Sequence[str],
    taken_up: np.ndarray,
    drift: Drift | None,
    generator: np.random.Generator,
) -> list[Taken]:
    """What the user takes up of a list, by chance."""
    found = []
    for item_id, chance in zip(item_ids, taken_up.tolist(), strict=True):
        if generator.random() >= chance:
            continue
        if generator.random() < REACHES_GOAL:
            found.append(Taken(item_id, user.goal.event_type, _goal_value(user, item_id, drift, generator)))
        else:
            found.append(Taken(item_id, "click", None))
    return found


def _pairs(interactions: pd.DataFrame, types: EventTypes) -> pd.DataFrame:
    """One row for each user and item: the event that speaks most for the item, the latest of equal ones; a refusal
    speaks last.

    Raises:
        ValueError: the data set has no event that speaks for an item.
    """
    known = interactions[interactions["event_type"].isin(types.by_name)]
    codes = known["event_type"].map({name: kind.code for name, kind in types.by_name.items()}).to_numpy(np.uint8)
    values = known["value"].to_numpy(np.float64, na_value=np.nan)
    confidence = types.confidence(codes, values, "preference").astype(np.float64)
    refused = types.is_refusal(codes, values)
    largest = confidence.max(initial=0.0)
    if largest <= 0:
        raise ValueError("no event of the data set speaks for an item: there is no taste to copy")
    appeal = np.where(confidence >= LIKED_FROM * largest, LIKED, np.where(confidence > 0, INDIFFERENT, UNKNOWN))
    frame = known.assign(
        confidence=np.where(refused, np.inf, confidence), appeal=np.where(refused, DISLIKED, appeal)
    ).sort_values(["confidence", "timestamp_ms"], kind="stable")
    return frame.drop_duplicates(["user_id", "item_id"], keep="last")


def _goal(interactions: pd.DataFrame, types: EventTypes) -> Goal:
    """The type of event that speaks most for an item, the most frequent of equal ones, and its median value."""
    best: tuple[float, int, str] = (-1.0, 0, "click")
    for name, rows in interactions.groupby("event_type", observed=True):
        if str(name) not in types.by_name:
            continue
        codes = np.full(len(rows), types[str(name)].code, np.uint8)
        found = types.confidence(codes, rows["value"].to_numpy(np.float64, na_value=np.nan), "preference")
        best = max(best, (float(found.max()), len(rows), str(name)))
    values = interactions.loc[interactions["event_type"] == best[2], "value"].dropna()
    return Goal(best[2], float(values.median()) if len(values) else None)


def _value(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _appeal(user: SimulatedUser, item_id: str, drift: Drift | None) -> float:
    if drift is not None:
        return LIKED if item_id in drift.items else UNKNOWN
    taste = user.taste.get(item_id)
    return UNKNOWN if taste is None else taste.appeal


def _goal_value(user: SimulatedUser, item_id: str, drift: Drift | None, generator: np.random.Generator) -> float | None:
    """The value of the goal's event: near the real user's rating, or what is usual."""
    taste = user.taste.get(item_id)
    known = taste.value if taste is not None else None
    if user.goal.event_type != "rating":
        return user.goal.value if known is None else known
    rating = 3.0 if known is None else known
    if drift is not None:
        rating = 5.0 if item_id in drift.items else 2.0
    return float(np.clip(rating + generator.choice([-1, 0, 0, 0, 1]), 1, 5))

"""Simulated users with a known taste: what they take up of a list, and how likely that was.

Each copies a real user of the data set: half of the ratings are the history that the system gets to know, the other
half is the taste that it has to guess. A simulated user looks at a place with a chance that falls with its rank
(position bias), and takes up what is seen with a chance by taste; both, and some clicks on anything, are noise. Since
the chances are known, so is the true value of every list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

LIKED, INDIFFERENT, DISLIKED, UNKNOWN = 0.35, 0.12, 0.04, 0.02
"""Chance of taking up an item that is looked at: rated 4 or better, 3, worse, not rated at all."""
RATES = 0.5
"""Chance that what was taken up is rated."""
FEWEST_RATINGS = 40
LONGEST_HISTORY = 30


@dataclass(frozen=True)
class SimulatedUser:
    """One user.

    Attributes:
        user_id: begins with the prefix by which simulated users are known.
        history: (item, rating, time in ms) that the system is told first.
        taste: item -> rating, held out.
    """

    user_id: str
    history: tuple[tuple[str, float, int], ...]
    taste: Mapping[str, float]


@dataclass(frozen=True)
class Drift:
    """A change of everybody's taste: from a moment on, only items of one category are liked."""

    category: str
    items: frozenset[str]


@dataclass(frozen=True)
class Taken:
    """An item that a user took up; `rating` where it was rated."""

    item_id: str
    rating: float | None


def draw_users(interactions: pd.DataFrame, count: int, seed: int, run: str) -> list[SimulatedUser]:
    """Copies of real users, drawn with replacement.

    Args:
        interactions: the data set's; ratings alone are used.
        run: part of every id, so that two simulations share no user.

    Raises:
        ValueError: nobody has rated enough.
    """
    ratings = interactions[interactions["event_type"] == "rating"]
    groups = {str(user): rows for user, rows in ratings.groupby("user_id") if len(rows) >= FEWEST_RATINGS}
    if not groups:
        raise ValueError(f"no user of the data set has {FEWEST_RATINGS} ratings: there is no taste to copy")
    generator = np.random.default_rng(seed)
    names = sorted(groups)
    found = []
    for number in range(count):
        rows = groups[names[int(generator.integers(len(names)))]]
        order = generator.permutation(len(rows))
        half = len(rows) // 2
        # Activity differs between users, which is what the covariate of the analysis is about.
        known = order[: min(half, int(generator.integers(5, LONGEST_HISTORY + 1)))]
        items, values, times = (rows[name].to_numpy() for name in ("item_id", "value", "timestamp_ms"))
        history = sorted((int(times[place]), str(items[place]), float(values[place])) for place in known)
        found.append(
            SimulatedUser(
                f"sim-{run}-{number}",
                tuple((item, rating, time_ms) for time_ms, item, rating in history),
                {str(items[place]): float(values[place]) for place in order[half:]},
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
        if generator.random() < chance:
            rated = generator.random() < RATES
            found.append(Taken(item_id, _rating(user, item_id, drift, generator) if rated else None))
    return found


def _appeal(user: SimulatedUser, item_id: str, drift: Drift | None) -> float:
    if drift is not None:
        return LIKED if item_id in drift.items else UNKNOWN
    rating = user.taste.get(item_id)
    if rating is None:
        return UNKNOWN
    return LIKED if rating >= 4 else INDIFFERENT if rating >= 3 else DISLIKED


def _rating(user: SimulatedUser, item_id: str, drift: Drift | None, generator: np.random.Generator) -> float:
    known = user.taste.get(item_id, 3.0)
    if drift is not None:
        known = 5.0 if item_id in drift.items else 2.0
    return float(np.clip(known + generator.choice([-1, 0, 0, 0, 1]), 1, 5))

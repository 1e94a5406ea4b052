"""How fast what users did stops counting: the half-lives of all decayed sums, in the store and in training alike."""

from typing import Literal

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ACTIVITY_HALF_LIVES_MS = {"1h": HOUR_MS, "1d": DAY_MS, "7d": 7 * DAY_MS}
"""Half-lives of a user's activity and of an item's popularity, by the name of the window."""
Window = Literal["1h", "1d", "7d"]
"""A name in `ACTIVITY_HALF_LIVES_MS`."""
TRENDING_WINDOW: Window = "7d"
"""Of what is trending, where neither a preset nor the manifest of a model says another."""
POPULARITY_HALF_LIVES_MS = (DAY_MS, 7 * DAY_MS)
"""The half-lives of popularity that the ranker's features use."""
STRENGTH_DIGITS = 6
"""Digits behind the point by which log2 of two items' decayed sums must differ, so that one is trending more. By hours
since 1970 a double has ten."""
AFFINITY_HALF_LIFE_MS = 7 * DAY_MS
"""Half-life of a user's affinity to a category."""
REFUSAL_AFFINITY = -0.5
"""What a dislike or a low rating counts for the item's categories."""

"""Whether what users do has changed: distributions of two windows compared, with the user as the unit.

    population stability index   sum_b (q_b - p_b) ln(q_b / p_b)         (p the reference, q the present)
    Jensen-Shannon distance      sqrt(H((p + q) / 2) - (H(p) + H(q)) / 2), base 2: 0 the same, 1 nothing in common

The index of two samples of one distribution is not 0: with independent events it averages about
(bins - 1) (1/n + 1/m), and more when one user makes many events. So a threshold alone raises false alarms on small
windows. Here the index must exceed what it averages when users are dealt to the two windows at random by `max_psi`, and
exceed nearly all of those (a permutation test with whole users, which keeps each user's events together).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 400
ALPHA = 0.01
_SMOOTHING = 0.5
_ACTIVITY_EDGES = (1, 2, 3, 6)


@dataclass(frozen=True)
class Shift:
    """How far two windows are apart.

    Attributes:
        psi: population stability index.
        js: Jensen-Shannon distance.
        chance: what `psi` averages by chance alone; None where it was not needed.
        p_value: share of random splits at least as far apart; None where it was not needed.
        drifted: whether both conditions of the module's docstring hold.
    """

    psi: float
    js: float
    chance: float | None
    p_value: float | None
    drifted: bool


def population_stability(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Index of (..., B) counts against counts of the same shape; half an event is added to each bin."""
    p, q = _shares(reference, _SMOOTHING), _shares(current, _SMOOTHING)
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def jensen_shannon(reference: np.ndarray, current: np.ndarray) -> float:
    """Distance of two vectors of B counts, neither empty (Endres and Schindelin 2003), base 2."""
    p, q = _shares(reference, 0.0), _shares(current, 0.0)
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def compare_windows(
    reference: np.ndarray, current: np.ndarray, max_psi: float, seed: int, alpha: float = ALPHA
) -> Shift:
    """Compare two windows of users.

    Args:
        reference: (n, B) counts, a row for each user.
        current: (m, B), likewise.
        max_psi: how far the index must exceed what chance gives, to count as drift.
        seed: seeds the random splits.
        alpha: share of random splits that may be as far apart.

    Raises:
        ValueError: a window without events.
    """
    first, second = reference.sum(axis=0), current.sum(axis=0)
    if not (first.any() and second.any()):
        raise ValueError("a window without events cannot be compared")
    psi, js = float(population_stability(first, second)), jensen_shannon(first, second)
    if psi < max_psi:
        return Shift(psi, js, None, None, drifted=False)
    users = np.concatenate([reference, current]).astype(np.float64)
    generator = np.random.default_rng(seed)
    order = generator.random((RESAMPLES, len(users))).argsort(axis=1)
    taken = (order < len(reference)).astype(np.float64)
    dealt = taken @ users
    by_chance = population_stability(dealt, users.sum(axis=0) - dealt)
    chance = float(by_chance.mean())
    p_value = float((1 + (by_chance >= psi).sum()) / (1 + RESAMPLES))
    return Shift(psi, js, chance, p_value, drifted=psi - chance >= max_psi and p_value <= alpha)


def user_counts(users: Sequence[Hashable], bins: np.ndarray, n_bins: int) -> np.ndarray:
    """(number of users, n_bins) counts of events, from the user and the bin of each."""
    rows = {user: row for row, user in enumerate(dict.fromkeys(users))}
    counts = np.zeros((len(rows), n_bins))
    np.add.at(counts, (np.array([rows[user] for user in users], np.int64), bins), 1.0)
    return counts


def shared_bins(
    reference: Sequence[Hashable], current: Sequence[Hashable], largest: int, others: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Bins for values of which there may be many: the most frequent have their own, the rest are spread over a few.

    The frequency is that in both windows together: bins chosen by the reference alone would make its favourites fall
    back towards the mean in every later window, which is chance and looks like drift.

    Returns:
        bins of the reference, bins of the present, number of bins.
    """
    frequency: dict[Hashable, int] = {}
    for value in (*reference, *current):
        frequency[value] = frequency.get(value, 0) + 1
    order = sorted(frequency, key=lambda value: (-frequency[value], str(value)))
    # Dealt out by rank, so the groups of the rest are of similar size and the same in every process.
    place = {value: rank if rank < largest else largest + rank % others for rank, value in enumerate(order)}
    return (
        np.array([place[value] for value in reference], np.int64),
        np.array([place[value] for value in current], np.int64),
        largest + others,
    )


def activity_bins(taken_up: Sequence[int]) -> tuple[np.ndarray, int]:
    """Bins of how much was taken up after a list (0, 1, 2, 3-5, 6 or more), and their number.

    By list, since events per user in a window would change with nothing but the amount of traffic.
    """
    return np.digitize(np.asarray(taken_up, np.int64), _ACTIVITY_EDGES), len(_ACTIVITY_EDGES) + 1


def _shares(counts: np.ndarray, smoothing: float) -> np.ndarray:
    padded = np.asarray(counts, np.float64) + smoothing
    shares: np.ndarray = padded / padded.sum(axis=-1, keepdims=True)
    return shares


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())

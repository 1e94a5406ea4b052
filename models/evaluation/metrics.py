"""Offline ranking quality, per user, unsampled. The definitions are those of docs/evaluation.md.

With hits_r = 1 where the item at rank r is relevant:

    MAP@k     average precision over |relevant|                     (the published benchmark's definition)
    MAPk@k    the same over min(|relevant|, k)
    NDCG@k    sum_r gain_r / log2(r + 1), over the best possible; the gain of what is relevant is 1, or how much it is
              (a purchase more than a view)

A user with nothing relevant has no value (NaN): undefined is not zero. A user with something relevant and no
recommendations scores 0.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from experiments.average_precision import average_precision

_INT64_ROOM = 2**62


@dataclass(frozen=True)
class UserMetrics:
    """Values of each user, all (n,) float64, NaN where the user has nothing relevant.

    Attributes:
        map_at_k: average precision over |relevant|.
        map_k_at_k: average precision over min(|relevant|, k).
    """

    map_at_k: np.ndarray
    map_k_at_k: np.ndarray
    ndcg: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    hit_rate: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval; `n` is the number of users behind it."""

    mean: float
    low: float
    high: float
    n: int


def hits(recommended: np.ndarray, relevant: sp.csr_matrix) -> np.ndarray:
    """(n, k) bool: the recommended item is relevant to its user.

    Args:
        recommended: (n, k) int, -1 where there is none.
        relevant: (n, n_items), stored entries are relevant.
    """
    n, n_items = relevant.shape
    if recommended.shape[0] != n:
        raise ValueError(f"{recommended.shape[0]} recommended rows, but {n} relevant ones")
    if n * n_items > _INT64_ROOM:
        raise ValueError("too many users times items for one comparison; evaluate in blocks")
    rows = np.repeat(np.arange(n, dtype=np.int64), np.diff(relevant.indptr))
    wanted = rows * n_items + relevant.indices
    offered = np.arange(n, dtype=np.int64)[:, None] * n_items + recommended
    return np.isin(offered, wanted) & (recommended >= 0)


def user_metrics(recommended: np.ndarray, relevant: sp.csr_matrix) -> UserMetrics:
    """All metrics of each user; k is the number of columns.

    Args:
        recommended: (n, k) int, best first, -1 where there is none; no item twice in a row.
        relevant: (n, n_items), stored entries are relevant, and their values are gains.
    """
    hit = hits(recommended, relevant)
    n, k = recommended.shape
    n_relevant = np.diff(relevant.indptr).astype(np.float64)
    n_relevant[n_relevant == 0] = np.nan
    ranks = np.arange(1, k + 1)
    discounts = 1.0 / np.log2(ranks + 1)
    reachable = np.fmin(n_relevant, k)
    gains = np.zeros((n, k))
    rows, columns = np.nonzero(hit)
    gains[rows, columns] = np.asarray(relevant[rows, recommended[rows, columns]]).ravel()
    found = hit.sum(axis=1).astype(np.float64)
    undefined = np.where(np.isnan(n_relevant), np.nan, 0.0)
    return UserMetrics(
        map_at_k=average_precision(hit, n_relevant),
        map_k_at_k=average_precision(hit, reachable + undefined),
        ndcg=(gains * discounts).sum(axis=1) / _ideal(relevant, discounts),
        precision=found / k + undefined,
        recall=found / n_relevant,
        hit_rate=(found > 0) + undefined,
    )


def _ideal(relevant: sp.csr_matrix, discounts: np.ndarray) -> np.ndarray:
    """(n,) discounted gain of the best list; NaN where nothing is relevant."""
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    order = np.lexsort((-relevant.data, rows))
    place = np.arange(len(rows)) - relevant.indptr[rows]
    used = place < len(discounts)
    best = np.bincount(rows[used], relevant.data[order][used] * discounts[place[used]], relevant.shape[0])
    return np.where(np.diff(relevant.indptr) > 0, best, np.nan)


def coverage(recommended: np.ndarray, n_items: int) -> float:
    """Share of a catalogue of `n_items` that was recommended to anyone."""
    return len(np.unique(recommended[recommended >= 0])) / n_items


def clustered_interval(cluster: np.ndarray, values: np.ndarray, seed: int, n: int = 2000) -> Interval:
    """95 % percentile bootstrap of the mean over values that are not independent within a cluster: whole clusters are
    resampled (Field, Welsh, "Bootstrapping clustered data", JRSS B 2007). `Interval.n` counts the clusters.

    Args:
        cluster: (m,) int >= 0, to which each value belongs.
        values: (m,) float; NaN (undefined) is left out.
        seed: seeds the resampling.
        n: number of resamples.

    Raises:
        ValueError: no value is defined.
    """
    defined = ~np.isnan(values)
    if not defined.any():
        raise ValueError("there is no value to average")
    _, place, sizes = np.unique(cluster[defined], return_inverse=True, return_counts=True)
    totals = np.bincount(place, values[defined])
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=n)
    low, high = np.quantile((drawn @ totals) / (drawn @ sizes), [0.025, 0.975])
    return Interval(float(values[defined].mean()), float(low), float(high), len(sizes))


def bootstrap_interval(values: np.ndarray, seed: int, n: int = 2000, level: float = 0.95) -> Interval:
    """Percentile bootstrap of the mean over users (Efron 1979).

    Args:
        values: (m,) float, one per user; NaN (undefined) is left out.
        seed: seeds the resampling.
        n: number of resamples.
        level: share of the resampled means between `low` and `high`.

    Raises:
        ValueError: no user has a value.
    """
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        raise ValueError("no user has a value to average")
    mean = float(defined.mean())
    if len(defined) == 1:  # SciPy refuses to resample a single value
        return Interval(mean, mean, mean, 1)
    from scipy.stats import bootstrap  # dear to import: 0.5 s

    found = bootstrap(
        (defined,),
        np.mean,
        n_resamples=n,
        batch=max(1, 4_000_000 // len(defined)),  # bounds the memory of the resampled indices
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(defined))

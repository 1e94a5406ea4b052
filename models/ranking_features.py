"""The ranker's features: one definition for training and for serving, computed for a whole micro-batch at once.

A candidate's features come in two blocks, because they are known in two places:

    candidate block   what needs the model's arrays: computed beside the factors (Retrieval), one row per candidate
    user block        what the online store and the request say about the user and the moment: one row per request

`assemble` puts them together in the order of `FEATURES`. Nothing here looks at a clock or at an event later than the
request's `at_ms`. Unknown is NaN, which the trees handle; it is never 0.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.item_relations import ItemRelations
from models.item_table import NO_CATEGORY, ItemTable

CANDIDATE_FEATURES = (
    "retrieval_score",
    "retrieval_standard",
    "retrieval_rank",
    "cosine_last",
    "cosine_max_5",
    "cosine_mean_5",
    "cosine_max_10",
    "cosine_mean_10",
    "cosine_max_10_standard",
    "ease_standard",
    "ease_recent_standard",
    "follows_standard",
    "follows_last",
    "log_count",
    "count_share",
    "value_mean",
    "year",
    "age_days",
    "popularity_1d",
    "popularity_7d",
    "affinity_mean",
    "affinity_max",
)
USER_FEATURES = ("log_history", "activity_1h", "activity_1d", "activity_7d", "idle_hours", "hour", "weekday", "device")
FEATURES = CANDIDATE_FEATURES + USER_FEATURES
_DEFINITION = 1  # count up when a feature keeps its name but changes its meaning
FEATURES_HASH = hashlib.sha256("\n".join((str(_DEFINITION), *FEATURES)).encode()).hexdigest()[:16]

RECENT = 20  # latest distinct items of a history that the features look at
DEVICES = {"desktop": 0, "mobile": 1, "tablet": 2, "tv": 3}
_DAY_MS, _HOUR_MS = 86_400_000.0, 3_600_000.0
_COLUMN = {name: place for place, name in enumerate(CANDIDATE_FEATURES)}


@dataclass(frozen=True)
class RequestBatch:
    """B requests, in the positions of an `ItemTable`.

    Attributes:
        candidates: (B, k) int64, best first by retrieval, -1 where a list is shorter.
        scores: (B, k) float32, retrieval's; NaN for a candidate that was not scored by a user vector.
        recent: (B, RECENT) int64, latest distinct items that speak for interest, the latest first, -1 padded.
        histories: for each request, all distinct items that speak for interest, (m,) int64.
        at_ms: (B,) float64, the moment of each request.
        affinity: (B, C) float32, see `affinity_rows`; NaN where there is none.
        popularity: (2, n) float32 or (2, B, k) float32: decayed popularity with half-lives of 1 and 7 days as a share
            of the leader's; of all items, or of the candidates already.
    """

    candidates: np.ndarray
    scores: np.ndarray
    recent: np.ndarray
    histories: Sequence[np.ndarray]
    at_ms: np.ndarray
    affinity: np.ndarray
    popularity: np.ndarray


def candidate_features(table: ItemTable, relations: ItemRelations | None, batch: RequestBatch) -> np.ndarray:
    """The candidate block.

    Args:
        table: the items' own side, made when the model was loaded.
        relations: between items; None where the model has none (their features are then NaN).
        batch: see `RequestBatch`.

    Returns:
        (B, k, len(CANDIDATE_FEATURES)) float32; rows of padding are meaningless.
    """
    candidates = np.maximum(batch.candidates, 0)
    present = batch.candidates >= 0
    rows, k = candidates.shape
    # Column by column in memory: each is written at one go, and the trees are given a transposed copy at the end.
    block = np.empty((len(CANDIDATE_FEATURES), rows, k), np.float32)

    scored = present & ~np.isnan(batch.scores)
    block[_COLUMN["retrieval_score"]] = batch.scores
    block[_COLUMN["retrieval_standard"]] = standardise(batch.scores, scored)
    block[_COLUMN["retrieval_rank"]] = np.arange(k, dtype=np.float32)
    _cosines(table, candidates, batch.recent, present, block)
    _relations(relations, candidates, present, batch, block)
    block[_COLUMN["log_count"] : _COLUMN["year"] + 1] = np.moveaxis(table.static[candidates], 2, 0)
    age = (batch.at_ms[:, None] - table.first_ms[candidates]) / _DAY_MS
    block[_COLUMN["age_days"]] = np.maximum(age, 0.0)
    popularity = batch.popularity if batch.popularity.ndim == 3 else batch.popularity[:, candidates]
    block[_COLUMN["popularity_1d"] : _COLUMN["popularity_7d"] + 1] = popularity
    mean, largest = _category_affinity(table, candidates, batch.affinity)
    block[_COLUMN["affinity_mean"]], block[_COLUMN["affinity_max"]] = mean, largest
    return np.ascontiguousarray(np.moveaxis(block, 0, 2))


def user_features(
    history_sizes: np.ndarray,
    activity: np.ndarray,
    last_ms: np.ndarray,
    at_ms: np.ndarray,
    devices: Sequence[str | None],
) -> np.ndarray:
    """The user block.

    Args:
        history_sizes: (B,) events in each user's history.
        activity: (B, 3) events decayed by half-lives of 1 h, 1 day and 7 days, as at `at_ms`.
        last_ms: (B,) time of the user's latest event, NaN where there is none.
        at_ms: (B,) the moment of each request; hour and weekday are taken in UTC.
        devices: as the request's context names them; an unlisted or absent one is NaN.

    Returns:
        (B, len(USER_FEATURES)) float32.
    """
    block = np.empty((len(at_ms), len(USER_FEATURES)), np.float32)
    block[:, 0] = np.log1p(history_sizes)
    block[:, 1:4] = activity
    block[:, 4] = np.maximum((at_ms - last_ms) / _HOUR_MS, 0.0)
    block[:, 5] = np.floor(at_ms / _HOUR_MS) % 24
    block[:, 6] = (np.floor(at_ms / _DAY_MS) + 3) % 7  # 1 January 1970 was a Thursday; Monday is 0
    block[:, 7] = [DEVICES.get(device, np.nan) if device is not None else np.nan for device in devices]
    return block


def assemble(candidate_block: np.ndarray, user_block: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """One row per candidate, in the order of `FEATURES`.

    Args:
        candidate_block: (N, len(CANDIDATE_FEATURES)) float32, the lists one after another.
        user_block: (B, len(USER_FEATURES)) float32.
        lengths: (B,) int, candidates of each list; their sum is N.

    Returns:
        (N, len(FEATURES)) float32.
    """
    features = np.empty((len(candidate_block), len(FEATURES)), np.float32)
    features[:, : len(CANDIDATE_FEATURES)] = candidate_block
    features[:, len(CANDIDATE_FEATURES) :] = np.repeat(user_block, lengths, axis=0)
    return features


def moment(now_ms: float, newest_ms: float | None) -> float:
    """The moment as of which a live request is answered, in ms since the epoch.

    The clock's, while events keep coming. Where the newest event of all is more than a day old (an imported data set,
    a replay, a standstill), that event's: otherwise every user would look idle for years, and no trained ranker has met
    such features.

    Args:
        now_ms: the clock.
        newest_ms: time of the newest event that the store has of anybody; None where it has none.
    """
    return now_ms if newest_ms is None or now_ms - newest_ms < _DAY_MS else newest_ms


def affinity_rows(sizes: Sequence[int], columns: np.ndarray, amounts: np.ndarray, n_columns: int) -> np.ndarray:
    """Category affinities as shares of a user's total, which do not shrink while a user is away.

    Args:
        sizes: (B,) how many affinities each request has.
        columns: (N,) the category of each affinity, the requests one after another; -1 for one without a column.
        amounts: (N,) decayed affinity, below 0 for what was refused.
        n_columns: categories that have a column.

    Returns:
        (B, n_columns) float32: affinity / sum of all |affinities|; 0 for a category never met, NaN where the user has
        no affinities at all.
    """
    rows = np.zeros((len(sizes), n_columns), np.float32)
    row = np.repeat(np.arange(len(sizes)), sizes)
    total = np.bincount(row, np.abs(amounts), len(sizes))
    known = (columns >= 0) & (total[row] > 0)
    rows[row[known], columns[known]] = amounts[known] / total[row[known]]
    rows[total == 0] = np.nan
    return rows


def latest_distinct(items: np.ndarray, n: int = RECENT, among: np.ndarray | None = None) -> np.ndarray:
    """(n,) int64: the latest distinct items of a history, the latest first, -1 padded.

    Args:
        items: (m,) int, oldest to newest; -1 is skipped.
        among: (p,) int, the items that count; None for all.
    """
    found = np.full(n, -1, np.int64)
    wanted = None if among is None else set(among.tolist())
    kept: dict[int, None] = {}
    # From the end, and no further than needed: a history is up to 500 events long, and few of the latest repeat.
    for item in items[::-1].tolist():
        if item >= 0 and (wanted is None or item in wanted):
            kept[item] = None
            if len(kept) == n:
                break
    found[: len(kept)] = list(kept)
    return found


def standardise(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(B, k): each row less its mean, over its standard deviation, both over the `present` entries only.

    NaN where nothing is present; 0 where all values are equal.
    """
    count = present.sum(axis=1, keepdims=True)
    some = np.maximum(count, 1)
    kept = np.where(present, values, 0.0)
    mean = kept.sum(axis=1, keepdims=True) / some
    centred = np.where(present, kept - mean, 0.0)
    deviation = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / some)
    flat = deviation <= 1e-6 * np.abs(mean)  # rounding, not spread
    scaled = np.where(flat, 0.0, centred / np.where(flat | (deviation == 0), 1.0, deviation))
    return np.where(present, scaled, np.nan).astype(np.float32)


def _cosines(
    table: ItemTable, candidates: np.ndarray, recent: np.ndarray, present: np.ndarray, block: np.ndarray
) -> None:
    latest = recent[:, :10]
    known = latest >= 0
    left, right = table.unit_factors[candidates], table.unit_factors[np.maximum(latest, 0)]
    cosines = np.matmul(right, left.transpose(0, 2, 1))  # (B, 10, k)
    low = np.where(known[:, :, None], cosines, -np.inf)
    zero = np.where(known[:, :, None], cosines, np.float32(0))
    has = known[:, :1]
    block[_COLUMN["cosine_last"]] = np.where(has, low[:, 0], np.nan)
    for size in (5, 10):
        block[_COLUMN[f"cosine_max_{size}"]] = np.where(has, low[:, :size].max(axis=1), np.nan)
        count = np.maximum(known[:, :size].sum(axis=1), 1)[:, None]
        block[_COLUMN[f"cosine_mean_{size}"]] = np.where(has, zero[:, :size].sum(axis=1) / count, np.nan)
    block[_COLUMN["cosine_max_10_standard"]] = standardise(block[_COLUMN["cosine_max_10"]], present & has)


def _relations(
    relations: ItemRelations | None,
    candidates: np.ndarray,
    present: np.ndarray,
    batch: RequestBatch,
    block: np.ndarray,
) -> None:
    first, last = _COLUMN["ease_standard"], _COLUMN["follows_last"]
    if relations is None:
        block[first : last + 1] = np.nan
        return
    full, recent, follows, follows_last = relations.scores(candidates, batch.histories, batch.recent)
    present = present & (candidates < relations.n_items)
    has = np.array([len(history) > 0 for history in batch.histories])[:, None]
    has_recent = batch.recent[:, :1] >= 0
    block[_COLUMN["ease_standard"]] = standardise(full, present & has)
    block[_COLUMN["ease_recent_standard"]] = standardise(recent, present & has_recent)
    block[_COLUMN["follows_standard"]] = standardise(follows, present & has_recent)
    block[_COLUMN["follows_last"]] = np.where(present & has_recent, follows_last, np.nan)


def _category_affinity(table: ItemTable, candidates: np.ndarray, affinity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and largest affinity over each candidate's categories, (B, k) each; NaN without categories."""
    rows = np.arange(len(candidates))[:, None, None]
    # One more column, read by the padding of items with few categories.
    padded = np.concatenate([affinity, np.zeros((len(affinity), 1), np.float32)], axis=1)
    members = table.categories[candidates]  # (B, k, m)
    values = padded[rows, members]
    with np.errstate(invalid="ignore"):
        mean = values.sum(axis=2) / table.category_counts[candidates]
    largest = np.where(members == NO_CATEGORY, -np.inf, values).max(axis=2, initial=-np.inf)
    largest[np.isneginf(largest)] = np.nan
    return mean, largest

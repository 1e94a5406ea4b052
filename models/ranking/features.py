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

from models.ranking.attributes import AttributeTable
from models.ranking.block.attributes import fill_attributes
from models.ranking.block.columns import (
    AFFINITY,
    ALL_COLUMNS,
    CANDIDATE_FEATURES,
    COSINES,
    FACTS,
    POPULARITY,
    RELATIONS,
    SCORES,
    TOGETHER,
    BlockColumns,
)
from models.ranking.block.habits import HABIT_FEATURES, fill_habits
from models.ranking.block.items import fill_affinity, fill_cosines, fill_facts, fill_given, fill_scores
from models.ranking.block.latest import fill_latest
from models.ranking.block.relations import fill_relations, fill_table_relations, fill_together
from models.ranking.block.repeats import REPEAT_FEATURES, fill_repeats
from models.ranking.item_relations import ItemRelations
from models.ranking.item_table import ItemTable
from models.relations.near_lists import NEAR_FEATURES
from models.relations.past_events import PastEvents
from models.relations.top_k import TopK

USER_FEATURES = ("log_history", "activity_1h", "activity_1d", "activity_7d", "idle_hours", "hour", "weekday", "device")
FEATURES = CANDIDATE_FEATURES + USER_FEATURES
_DEFINITION = 2  # count up when a feature keeps its name but changes its meaning


def _hash(definition: int, names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((str(definition), *names)).encode()).hexdigest()[:16]


FEATURES_HASH = _hash(_DEFINITION, FEATURES)
_WITHOUT_TABLES = (*CANDIDATE_FEATURES[: CANDIDATE_FEATURES.index("together")], *USER_FEATURES)
_WITHOUT_NEAR = (*CANDIDATE_FEATURES[: CANDIDATE_FEATURES.index(NEAR_FEATURES[0])], *USER_FEATURES)
_WITHOUT_HABITS = (*CANDIDATE_FEATURES[: CANDIDATE_FEATURES.index(HABIT_FEATURES[0])], *USER_FEATURES)
EARLIER_FEATURES = {
    _hash(1, _WITHOUT_TABLES): _WITHOUT_TABLES,
    _hash(2, _WITHOUT_NEAR): _WITHOUT_NEAR,
    _hash(2, _WITHOUT_HABITS): _WITHOUT_HABITS,
}
"""What rankers of earlier versions read, by their hash: a bundle from before an update serves on. With the relations
that it holds these features are what they were."""

RECENT = 20  # latest distinct items of a history that the features look at
DEVICES = {"desktop": 0, "mobile": 1, "tablet": 2, "tv": 3}
_DAY_MS, _HOUR_MS = 86_400_000.0, 3_600_000.0
_NO_TABLE = TopK(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


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
        events: for each request, the items of its history's events, (m,) int64; empty where no attribute is matched
            with them.
        amounts: for each request, what each of those events counts at that moment, (m,) float64, below 0 for a refusal.
        users: (B, u) float32, `models.ranking.attributes.user_values` of the requests' users.
        past: for each request what the user had before; empty where the features of repeats are not read: they are
            NaN then.
        near: (B, k, len(NEAR_FEATURES)) float32, `models.relations.near_lists.near_features`; None where nothing is
            counted.
    """

    candidates: np.ndarray
    scores: np.ndarray
    recent: np.ndarray
    histories: Sequence[np.ndarray]
    at_ms: np.ndarray
    affinity: np.ndarray
    popularity: np.ndarray
    events: Sequence[np.ndarray] = ()
    amounts: Sequence[np.ndarray] = ()
    users: np.ndarray | None = None
    past: Sequence[PastEvents] = ()
    near: np.ndarray | None = None


def candidate_features(
    table: ItemTable, relations: ItemRelations | None, batch: RequestBatch, columns: BlockColumns | None = None
) -> np.ndarray:
    """The candidate block.

    Args:
        table: the items' own side, made when the model was loaded.
        relations: between items; None where the model has none (their features are then NaN).
        batch: the requests and their candidates. What no feature of `columns` needs is not looked at.
        columns: the features that are wanted; None for `CANDIDATE_FEATURES` and, behind them, what attributes give.

    Returns:
        (B, k, len(columns.names)) float32; rows of padding are meaningless.
    """
    attributes = table.attributes
    if columns is None:
        columns = ALL_COLUMNS if attributes is None else BlockColumns((*CANDIDATE_FEATURES, *attributes.features))
    block = np.empty((*batch.candidates.shape, len(columns.names)), np.float32)
    candidates = np.ascontiguousarray(batch.candidates, np.int64)
    recent = np.ascontiguousarray(batch.recent, np.int64)
    at_ms = np.ascontiguousarray(batch.at_ms, np.float64)
    if columns.any_of(SCORES):
        fill_scores(block, columns.of(SCORES), candidates, np.ascontiguousarray(batch.scores, np.float32))
    if columns.any_of(COSINES):
        fill_cosines(block, columns.of(COSINES), candidates, recent, table.unit_factors)
    if columns.any_of(RELATIONS):
        _fill_relations(block, columns.of(RELATIONS), candidates, recent, relations, batch.histories)
    if columns.any_of(FACTS):
        fill_facts(block, columns.of(FACTS), candidates, at_ms, table.static, table.first_ms)
    if columns.any_of(POPULARITY):
        popularity = batch.popularity if batch.popularity.ndim == 3 else batch.popularity[:, batch.candidates]
        fill_given(block, columns.of(POPULARITY), np.ascontiguousarray(np.moveaxis(popularity, 0, 2), np.float32))
    if columns.any_of(AFFINITY):
        affinity = np.ascontiguousarray(batch.affinity, np.float32)
        fill_affinity(block, columns.of(AFFINITY), candidates, affinity, table.categories)
    if columns.any_of(TOGETHER):
        together = None if relations is None else relations.together
        fill_together(block, columns.of(TOGETHER), candidates, recent, _arrays(together))
    if columns.any_of(REPEAT_FEATURES, HABIT_FEATURES):
        _fill_past(block, columns, candidates, at_ms, batch.past)
    if columns.any_of(NEAR_FEATURES):
        _fill_near(block, columns.of(NEAR_FEATURES), batch.near)
    if attributes is not None and columns.any_of(attributes.features):
        _fill_attributes(block, columns.of(attributes.features), candidates, at_ms, attributes, batch)
    return block


def _fill_relations(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    recent: np.ndarray,
    relations: ItemRelations | None,
    histories: Sequence[np.ndarray],
) -> None:
    requests = block, at, candidates, recent, *_flat(histories)
    if relations is None or relations.ease is None or relations.follows is None:
        tables = (None, None) if relations is None else (relations.neighbours, relations.following)
        fill_table_relations(*requests, *(_arrays(one) for one in tables))
    else:
        fill_relations(*requests, relations.ease, relations.follows)


def _arrays(table: TopK | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = _NO_TABLE if table is None else table
    return table.edges, table.items, table.weights


def _flat(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers one part after another, and the edges of the parts."""
    return np.concatenate(parts, dtype=np.int64), np.cumsum([0, *map(len, parts)])


def _fill_past(
    block: np.ndarray, columns: BlockColumns, candidates: np.ndarray, at_ms: np.ndarray, past: Sequence[PastEvents]
) -> None:
    if not past:
        at = columns.of(REPEAT_FEATURES + HABIT_FEATURES)
        block[:, :, at[at >= 0]] = np.nan
        return
    items, edges = _flat([mine.items for mine in past])
    amounts, times_ms = (
        np.concatenate([getattr(mine, name) for mine in past], dtype=np.float64) for name in ("amounts", "times_ms")
    )
    if columns.any_of(REPEAT_FEATURES):
        fill_repeats(block, columns.of(REPEAT_FEATURES), candidates, at_ms, edges, items, amounts, times_ms)
    if columns.any_of(HABIT_FEATURES):
        fill_habits(block, columns.of(HABIT_FEATURES), candidates, at_ms, edges, items, amounts, times_ms)


def _fill_near(block: np.ndarray, at: np.ndarray, near: np.ndarray | None) -> None:
    if near is None:
        block[:, :, at[at >= 0]] = np.nan
    else:
        fill_given(block, at, np.ascontiguousarray(near, np.float32))


def _fill_attributes(
    block: np.ndarray,
    at: np.ndarray,
    candidates: np.ndarray,
    at_ms: np.ndarray,
    attributes: AttributeTable,
    batch: RequestBatch,
) -> None:
    users = np.full((len(block), attributes.n_users), np.nan) if batch.users is None else batch.users
    nothing = [np.empty(0, np.int64)] * len(block)
    items, edges = _flat(batch.events or nothing)
    fill_attributes(
        block,
        at,
        candidates,
        at_ms,
        items,
        edges,
        np.concatenate(batch.amounts or nothing, dtype=np.float64),
        attributes.values,
        attributes.times_ms,
        attributes.members,
        attributes.edges,
        attributes.sizes,
        np.ascontiguousarray(users, np.float32),
    )


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
    """One row per candidate, in the order of `FEATURES`; what attributes give follows behind.

    Args:
        candidate_block: (N, len(CANDIDATE_FEATURES) + a) float32, the lists one after another; a columns of attributes.
        user_block: (B, len(USER_FEATURES)) float32.
        lengths: (B,) int, candidates of each list; their sum is N.

    Returns:
        (N, len(FEATURES) + a) float32.
    """
    first = len(CANDIDATE_FEATURES)
    features = np.empty((len(candidate_block), candidate_block.shape[1] + len(USER_FEATURES)), np.float32)
    features[:, :first] = candidate_block[:, :first]
    features[:, first : len(FEATURES)] = np.repeat(user_block, lengths, axis=0)
    features[:, len(FEATURES) :] = candidate_block[:, first:]
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
        items: (m,) int64, oldest to newest; -1 is skipped.
        among: (p,) int64, rising, the items that count; None for all.
    """
    found = np.full(n, -1, np.int64)
    items = np.ascontiguousarray(items, np.int64)
    fill_latest(items, items if among is None else np.ascontiguousarray(among, np.int64), among is None, found)
    return found

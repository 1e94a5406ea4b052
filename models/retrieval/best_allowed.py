"""The best of a model's items that each query of a batch may get."""

from collections.abc import Sequence

import numpy as np

from models.compiled import compiled, reads, writes
from models.relations.top_k import free_slots, slot_of
from models.retrieval.index import ItemIndex
from models.retrieval.query import Filter, Query


def best_allowed(
    index: ItemIndex,
    item_factors: np.ndarray,
    spoken_for: np.ndarray,
    vectors: np.ndarray,
    queries: Sequence[Query],
    filters: Sequence[Filter],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores and positions of each query's n best, best first; fewer where there are no more.

    Args:
        index: of the item factors, (n_items, f) float32.
        spoken_for: (n_items,) bool, items that may be found at all.
        vectors: (B, f) float32, one for each query and its filter.
    """
    # Over-fetching what will be dropped as seen nearly always fills the list in one search for the batch.
    fetch = max(query.n + len(query.exclude) for query in queries)
    scores, items = index.search(vectors, min(_round_up(fetch), index.n_items))
    found_scores, found = [], []
    for row, query in enumerate(queries):
        keep = (items[row] >= 0) & filters[row].allows(items[row]) & spoken_for[items[row]]
        mine, my_scores = items[row][keep][: query.n], scores[row][keep][: query.n]
        if len(mine) < query.n and fetch < index.n_items:
            # A filter so narrow that the index did not fill the list: exact scores of the allowed items only.
            some = np.flatnonzero(filters[row].mask()[: index.n_items] & spoken_for)
            some_scores = item_factors[some] @ vectors[row]
            best = top(some_scores, query.n)
            mine, my_scores = some[best], some_scores[best]
        found_scores.append(my_scores)
        found.append(mine)
    return found_scores, found


def first_free(
    items: np.ndarray, allowed: np.ndarray, taken: np.ndarray, spoken_for: np.ndarray, most: int
) -> np.ndarray:
    """(m,) int64: the first of some items that may follow on a list, `most` at most.

    Args:
        items: (p,) positions, of which those count that are `allowed`, (p,) bool.
        taken: (t,) positions that are on the list already.
        spoken_for: as in `best_allowed`; an item behind the model's may always follow.
    """
    found, number = np.empty(most, np.int64), np.empty(1, np.int64)
    _first_free(items, allowed, taken, spoken_for, found, number)
    return found[: number[0]]


@compiled(reads("i8"), reads("?"), reads("i8"), reads("?"), writes("i8"), writes("i8"))
def _first_free(
    items: np.ndarray,
    allowed: np.ndarray,
    taken: np.ndarray,
    spoken_for: np.ndarray,
    found: np.ndarray,
    number: np.ndarray,
) -> None:
    keys = free_slots(len(taken))
    for item in taken:
        keys[slot_of(keys, item)] = item
    n = 0
    for place in range(len(items)):
        if n == len(found):
            break
        item = items[place]
        if allowed[place] and (item >= len(spoken_for) or spoken_for[item]) and keys[slot_of(keys, item)] < 0:
            found[n] = item
            n += 1
    number[0] = n


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` largest scores, best first; ties: lower position first."""
    if len(scores) > 4 * n:
        edge = np.partition(scores, len(scores) - n)[len(scores) - n]
        near = np.flatnonzero(scores >= edge)
        return near[np.argsort(-scores[near], kind="stable")][:n]
    return np.argsort(-scores, kind="stable")[:n]


def _round_up(n: int) -> int:
    """The next multiple of 64: few distinct sizes keep the allocator calm."""
    return -(-n // 64) * 64

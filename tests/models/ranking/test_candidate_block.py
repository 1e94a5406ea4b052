"""The compiled loops against the formulas, written down once more with numpy in float64."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from models.ranking.attributes import AttributeColumns, Attributes, UsedAttribute, UsedAttributes
from models.ranking.block.columns import CANDIDATE_FEATURES, BlockColumns
from models.ranking.block.habits import HABIT_FEATURES
from models.ranking.block.repeats import REPEAT_FEATURES
from models.ranking.features import RECENT, RequestBatch, candidate_features, latest_distinct
from models.ranking.item_relations import ItemRelations
from models.ranking.item_table import ItemTable, item_statistics, item_table
from models.relations.near_lists import NEAR_FEATURES
from models.relations.past_events import PastEvents
from models.relations.top_k import TopK

DAY = 86_400_000.0
N_TRAINED, N_ALL = 40, 46  # the last six are known to the catalogue only


def standard(values: np.ndarray) -> np.ndarray:
    """Over what is not NaN."""
    if np.isnan(values).all():
        return values
    deviation = np.nanstd(values)
    return (values - np.nanmean(values)) / deviation if deviation > 1e-6 * abs(np.nanmean(values)) else values * 0


def relation(matrix: np.ndarray, rows: list[int], item: int) -> float:
    if item >= len(matrix):
        return np.nan
    return float(sum(matrix[row, item].astype(float) for row in rows if row < len(matrix)))


def table_of(matrix: np.ndarray) -> TopK:
    stored = sp.csr_matrix(matrix)
    return TopK(stored.indptr.astype(np.int64), stored.indices.astype(np.int32), stored.data)


def sparse_matrix(generator: np.random.Generator) -> np.ndarray:
    shape = (N_TRAINED, N_TRAINED)
    return np.where(generator.random(shape) < 0.2, generator.random(shape), 0).astype(np.float32)


def repeats(past: PastEvents, item: int, at_ms: float) -> list[float]:
    own = past.items == item
    times = past.times_ms[own]
    days = (at_ms - times) / DAY
    decayed = [float((past.amounts[own] * 2.0 ** (-days / half_life)).sum()) for half_life in (7, 30, 90)]
    moments = np.unique(times)
    since = (at_ms - times.max()) / DAY if len(times) else np.nan
    rhythm = since / np.diff(moments).mean() * DAY if len(moments) > 1 else np.nan
    return [len(times), *decayed, since, rhythm, len(times) / len(past.items) if len(past.items) else 0.0]


def habits(past: PastEvents, item: int, at_ms: float) -> list[float]:
    days, own = (at_ms - past.times_ms) / DAY, past.items == item
    fades = past.amounts * 2.0 ** (-days / 60)
    visit = np.cumsum(np.diff(past.times_ms, prepend=-np.inf) > 1_800_000) - 1
    first_days = np.array([days[visit == number].max() for number in np.unique(visit)])
    if not own.any():
        return [np.nan, 0, 0, 0, np.nan, np.nan, 0]
    with_it = np.unique(visit[own])
    larger = sum(fades[past.items == other].sum() > fades[own].sum() for other in np.unique(past.items))
    return [
        larger,
        fades[own].sum() / fades.sum(),
        (past.amounts[own] * 2.0 ** (-days[own] / 180)).sum(),
        len(with_it),
        len(with_it) / (visit[-1] - with_it[0] + 1),
        visit[-1] - with_it[-1],
        (2.0 ** (-first_days[with_it] / 60)).sum() / (2.0 ** (-first_days / 60)).sum(),
    ]


def expected(
    items: ItemTable, ease: np.ndarray, follows: np.ndarray, together: np.ndarray, batch: RequestBatch, row: int
) -> dict[str, np.ndarray]:
    listed = [item for item in batch.candidates[row].tolist() if item >= 0]
    latest = [item for item in batch.recent[row].tolist() if item >= 0]
    late = [item for item in latest if item < N_TRAINED]
    history = batch.histories[row].tolist()
    unit = items.unit_factors.astype(float)
    cosines = np.array([[unit[item] @ unit[other] for other in latest[:10]] for item in listed])
    members = [[column for column in items.categories[item].tolist() if column >= 0] for item in listed]
    shares = [batch.affinity[row, columns].astype(float) for columns in members]
    nothing = np.full(len(listed), np.nan)
    found = {
        "retrieval_score": batch.scores[row, : len(listed)],
        "retrieval_standard": standard(batch.scores[row, : len(listed)].astype(float)),
        "retrieval_rank": np.arange(len(listed)),
        "age_days": np.maximum((batch.at_ms[row] - items.first_ms[listed]) / DAY, 0),
        "popularity_1d": batch.popularity[0, listed],
        "popularity_7d": batch.popularity[1, listed],
        "affinity_mean": np.array([mine.mean() if len(mine) else np.nan for mine in shares]),
        "affinity_max": np.array([mine.max() if len(mine) else np.nan for mine in shares]),
        "ease_standard": standard(np.array([relation(ease, history, i) for i in listed])) if history else nothing,
    }
    found |= dict(zip(("log_count", "count_share", "value_mean", "year"), items.static[listed].T, strict=True))
    if latest:
        fading = np.array([relation(together, [], i) for i in listed])
        for step, other in enumerate(late[:10]):
            fading += [0.8**step * relation(together, [other], i) for i in listed]
        found |= {
            "cosine_last": cosines[:, 0],
            "cosine_max_5": cosines[:, :5].max(axis=1),
            "cosine_mean_5": cosines[:, :5].mean(axis=1),
            "cosine_max_10": cosines.max(axis=1),
            "cosine_mean_10": cosines.mean(axis=1),
            "cosine_max_10_standard": standard(cosines.max(axis=1)),
            "ease_recent_standard": standard(np.array([relation(ease, late, i) for i in listed])),
            "follows_standard": standard(np.array([relation(follows, late[:5], i) for i in listed])),
            "together": fading,
            "together_standard": standard(fading),
            "together_last": np.array([relation(together, late[:1], i) for i in listed]),
            "follows_last": np.array([relation(follows, late[:1], i) for i in listed]),
        }
    if batch.past:
        told = np.array([repeats(batch.past[row], item, batch.at_ms[row]) for item in listed])
        found |= dict(zip(REPEAT_FEATURES, told.T, strict=True))
        told = np.array([habits(batch.past[row], item, batch.at_ms[row]) for item in listed])
        found |= dict(zip(HABIT_FEATURES, told.T, strict=True))
    if batch.near is not None:
        found |= dict(zip(NEAR_FEATURES, batch.near[row, : len(listed)].T, strict=True))
    return {name: found.get(name, nothing) for name in CANDIDATE_FEATURES}


def requests(
    seed: int, large: bool
) -> tuple[ItemTable, ItemRelations, RequestBatch, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Five requests, and the matrices of EASE, of what follows and of what goes together."""
    generator = np.random.default_rng(seed)
    item = generator.integers(0, N_TRAINED, 200)
    statistics = item_statistics(
        np.bincount(item, minlength=N_TRAINED),
        item,
        generator.integers(0, 100, 200) * DAY,
        np.where(generator.random(200) < 0.3, np.nan, generator.integers(1, 6, 200)).astype(np.float32),
        np.where(generator.random(N_TRAINED) < 0.2, np.nan, 1990).astype(np.float32),
    )
    factors = generator.normal(size=(N_TRAINED, 12)).astype(np.float32)
    factors[3] = 0  # without a direction
    members = {str(name): np.flatnonzero(generator.random(N_ALL) < 0.2) for name in range(5)}
    extra = generator.normal(size=(N_ALL - N_TRAINED, 12)).astype(np.float32)
    items = item_table(factors, statistics, members, extra, np.full(len(extra), 50 * DAY))
    together = sparse_matrix(generator)
    ease, follows = generator.normal(size=(2, N_TRAINED, N_TRAINED)).astype(np.float32)
    relations = ItemRelations(ease, follows, table_of(together))
    if large:  # the tables stand in for the matrices
        ease, follows = sparse_matrix(generator), sparse_matrix(generator)
        relations = ItemRelations(None, None, table_of(together), table_of(follows), table_of(ease))
    lengths = (30, 12, 1, 30, 30)
    pasts = [generator.integers(0, N_ALL, size=m) for m in (60, 7, 3, 1, 0)]
    candidates = np.full((5, 30), -1)
    for row, length in enumerate(lengths):
        candidates[row, :length] = generator.permutation(N_ALL)[:length]
    scores = np.where(candidates >= 0, generator.normal(size=candidates.shape), np.nan).astype(np.float32)
    scores[0, 5] = np.nan  # one that no user vector has scored
    scores[3] = 2.5  # all alike
    affinity = generator.normal(size=(5, 5)).astype(np.float32)
    affinity[4] = np.nan
    batch = RequestBatch(
        candidates=candidates,
        scores=scores,
        recent=np.stack([latest_distinct(past, RECENT) for past in pasts]),
        histories=[np.unique(past) for past in pasts],
        at_ms=np.array([120, 60, 40, 10, 0]) * DAY,
        affinity=affinity,
        popularity=generator.random((2, N_ALL)).astype(np.float32),
        past=[
            PastEvents(past, generator.random(len(past)), np.sort(generator.integers(-50, 1, len(past))) * DAY)
            for past in pasts
        ],
        near=generator.random((5, 30, len(NEAR_FEATURES))).astype(np.float32),
    )
    return items, relations, batch, (ease, follows, together)


@pytest.mark.parametrize("large", [False, True], ids=["matrices", "tables"])
@pytest.mark.parametrize("seed", range(4))
def test_the_block_is_what_the_formulas_say(seed: int, large: bool) -> None:
    items, relations, batch, matrices = requests(seed, large)
    block = candidate_features(items, relations, batch)
    for row, length in enumerate((batch.candidates >= 0).sum(axis=1).tolist()):
        for place, (name, values) in enumerate(expected(items, *matrices, batch, row).items()):
            found = block[row, :length, place]
            np.testing.assert_allclose(found, values, rtol=2e-4, atol=2e-5, err_msg=f"{name} of request {row}")


@pytest.mark.parametrize("names", [*([name] for name in CANDIDATE_FEATURES), CANDIDATE_FEATURES[::-2]], ids="-".join)
@pytest.mark.parametrize("large", [False, True], ids=["matrices", "tables"])
def test_a_block_of_some_features_is_a_part_of_the_whole(names: Sequence[str], large: bool) -> None:
    items, relations, batch, _ = requests(0, large)
    whole = candidate_features(items, relations, batch)
    found = candidate_features(items, relations, batch, BlockColumns(names))
    columns = [CANDIDATE_FEATURES.index(name) for name in names]
    present = batch.candidates >= 0
    np.testing.assert_array_equal(found[present], whole[present][:, columns])


def test_other_types_and_orders_of_memory_give_the_same() -> None:
    """The clock gives a float, the newest event's time is an int: the compiled loops know one type only."""
    items = item_table(
        np.asfortranarray(np.eye(4)), item_statistics(*np.zeros((4, 4), int), np.zeros(4)), {"a": np.arange(4)}
    )
    relations = ItemRelations(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    given: dict[str, Any] = {
        "candidates": np.array([[1, 2], [0, 3]]),
        "scores": np.array([[1.0, 0.5], [3.0, 1.0]], np.float32),
        "recent": np.stack([latest_distinct(np.array([0, 2]), RECENT), latest_distinct(np.array([1]), RECENT)]),
        "histories": [np.array([0, 2]), np.array([1])],
        "at_ms": np.array([3 * DAY, 4 * DAY]),
        "affinity": np.array([[1.0], [0.5]], np.float32),
        "popularity": np.arange(8, dtype=np.float32).reshape(2, 4),
    }
    usual = candidate_features(items, relations, RequestBatch(**given))
    for integer, real in ((np.int32, np.float64), (np.int64, np.float32)):
        other = {
            "candidates": np.asfortranarray(given["candidates"].astype(integer)),
            "scores": np.asfortranarray(given["scores"].astype(real)),
            "recent": np.asfortranarray(given["recent"].astype(integer)),
            "histories": [past.astype(integer) for past in given["histories"]],
            "at_ms": given["at_ms"].astype(np.int64),
            "affinity": given["affinity"].astype(real),
            "popularity": np.asfortranarray(given["popularity"].astype(real)),
        }
        np.testing.assert_array_equal(candidate_features(items, relations, RequestBatch(**other)), usual)


def test_of_attributes_too_a_block_of_some_is_a_part_of_the_whole() -> None:
    items, relations, batch, _ = requests(1, large=False)
    generator = np.random.default_rng(1)
    of_items = (("size", "number"), ("new", "flag"), ("since", "time"), ("kind", "keyword"), ("tags", "keywords"))
    used = UsedAttributes(
        items=tuple(
            UsedAttribute(name=name, type=kind, codes=("a", "b") * (name == "kind")) for name, kind in of_items
        ),  # type: ignore[arg-type]
        users=(UsedAttribute(name="age", type="number"), UsedAttribute(name="town", type="keyword", codes=("x",))),
    )
    columns = AttributeColumns(used, N_ALL)
    described: list[Attributes] = [
        {"size": float(n), "new": n % 2 == 0, "since": n * 1000, "kind": "abc"[n % 3], "tags": ["p", f"q{n % 4}"]}
        for n in range(N_ALL)
    ]
    columns.update(range(N_ALL), described, N_ALL)
    items = replace(items, attributes=columns.table())
    batch = replace(
        batch,
        events=[generator.integers(0, N_ALL, n) for n in (9, 3, 0, 1, 20)],
        amounts=[generator.normal(size=n) for n in (9, 3, 0, 1, 20)],
        users=generator.normal(size=(5, 2)).astype(np.float32),
    )
    names = [*CANDIDATE_FEATURES, *used.features]
    whole, present = candidate_features(items, relations, batch), batch.candidates >= 0
    assert whole.shape[2] == len(names)
    for some in (*([name] for name in used.features), names[::-3]):
        found = candidate_features(items, relations, batch, BlockColumns(some))
        expected = whole[present][:, [names.index(name) for name in some]]
        np.testing.assert_array_equal(found[present], expected)
        assert not np.isnan(expected).all()

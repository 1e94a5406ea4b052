"""Sparse relations against the formulas, written down once more with dense matrices."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from models.relations import top_k
from models.relations.neighbours import fit_neighbours
from models.relations.past_events import HALF_LIFE_MS, PastEvents, had_before
from models.relations.sequences import FOLLOWING, TOGETHER, Steps, fit_sequences
from models.relations.top_k import TopK, strongest_of

MINUTE = 60_000


def dense(table: TopK) -> np.ndarray:
    n = table.n_items
    return sp.csr_matrix((table.weights, table.items, table.edges), shape=(n, n)).toarray()


def counted(user: np.ndarray, item: np.ndarray, times_ms: np.ndarray, n: int, steps: Steps) -> np.ndarray:
    """(n, n) steps from row to column, pair by pair."""
    counts = np.zeros((n, n))
    order = sorted(range(len(user)), key=lambda row: (user[row], times_ms[row], item[row]))
    for first, second in itertools.combinations(range(len(order)), 2):
        one, other = order[first], order[second]
        gap = times_ms[other] - times_ms[one]
        if user[one] != user[other] or second - first > len(steps.weights) or gap > steps.longest_ms:
            continue
        if item[one] != item[other]:
            weight = steps.weights[second - first - 1]
            counts[item[one], item[other]] += weight
            counts[item[other], item[one]] += weight * (1.0 if gap == 0 else steps.backwards)
    return counts


@pytest.mark.parametrize("steps", [FOLLOWING, TOGETHER], ids=["following", "together"])
def test_sequences_are_what_the_formula_says(steps: Steps) -> None:
    generator = np.random.default_rng(0)
    user, item = generator.integers(0, 12, 300), generator.integers(0, 20, 300)
    times_ms = generator.integers(0, 60, 300) * MINUTE  # some at one moment, some far apart
    counts = counted(user, item, times_ms, 21, steps)
    share = counts.sum(axis=0) / counts.sum()
    expected = counts / (counts.sum(axis=1, keepdims=True) + 100) / np.maximum(share, 1e-9) ** 0.3
    found = fit_sequences(user, item, times_ms, 21, steps, 30)
    np.testing.assert_allclose(dense(found), expected, rtol=1e-5)
    # The strongest alone, the strongest first, ties by position; and in blocks of a few rows.
    few = fit_sequences(user, item, times_ms, 21, steps, 4)
    for row in range(21):
        best = np.argsort(-expected[row].astype(np.float32), kind="stable")[:4].tolist()
        kept = few.items[few.edges[row] : few.edges[row + 1]]
        assert kept.tolist() == [place for place in best if expected[row, place] > 0]


def test_events_of_one_moment_follow_one_another() -> None:
    user, item = np.zeros(2, int), np.array([1, 0])
    tied = dense(fit_sequences(user, item, np.zeros(2), 2, FOLLOWING, 5))
    assert tied[0, 1] == tied[1, 0] > 0
    after = dense(fit_sequences(user, item, np.array([0, 1]), 2, FOLLOWING, 5))
    assert after[1, 0] > 0
    assert after[0, 1] == 0


def test_a_table_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    user, item, times_ms = (generator.integers(0, n, 500) for n in (30, 50, 10**9))
    whole = fit_sequences(user, item, times_ms, 50, FOLLOWING, 10)
    monkeypatch.setattr(top_k, "_BLOCK_CELLS", 70)
    for name, array in vars(fit_sequences(user, item, times_ms, 50, FOLLOWING, 10)).items():
        np.testing.assert_array_equal(array, getattr(whole, name))


def test_neighbours_are_what_the_formula_says() -> None:
    seen = sp.random(40, 15, 0.3, "csr", rng=np.random.default_rng(0))
    x = (seen.toarray() > 0).astype(float)
    rarity = np.log1p(15 / (1 + x.sum(axis=1)))
    sizes = x.sum(axis=0)
    norms = 2.2 / (1.2 * (0.25 + 0.75 * sizes / sizes.mean()) + 1)
    weighed = x * rarity[:, None] * norms
    expected = weighed.T @ weighed
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(dense(fit_neighbours(sp.csr_matrix(seen), 15)), expected, rtol=1e-5)


def test_a_very_long_history_is_cut() -> None:
    """Pairs grow with its square: of one user with every item, only some of the items are counted as met."""
    seen = sp.csr_matrix(np.vstack([np.ones((1, 60)), np.eye(2, 60)]))
    found = fit_neighbours(seen, 60, longest=10)
    assert len(found.items) == 10 * 9


def test_nothing_is_related_where_there_is_nothing() -> None:
    nothing = np.zeros(0, int)
    for found in (fit_sequences(nothing, nothing, nothing, 3, TOGETHER, 5), fit_neighbours(sp.csr_matrix((2, 3)), 5)):
        found.check("together", 3)
        assert len(found.items) == 0


def test_the_strongest_of_several_rows() -> None:
    generator = np.random.default_rng(2)
    weights = np.where(generator.random((30, 30)) < 0.3, generator.integers(1, 4, (30, 30)), 0).astype(np.float32)
    matrix = sp.csr_matrix(weights)
    table = TopK(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
    rows, shares = np.array([3, -1, 7, 99, 3]), np.array([1.0, 1.0, 0.5, 1.0, 0.25], np.float32)
    sums = weights[3] * 1.25 + weights[7] * 0.5
    order = np.argsort(-sums, kind="stable")
    assert strongest_of(table, rows, shares).tolist() == order[sums[order] > 0].tolist()
    assert len(strongest_of(table, np.array([-1]), shares[:1])) == 0


def test_a_table_moves_to_other_positions() -> None:
    generator = np.random.default_rng(3)
    weights = np.where(generator.random((6, 6)) < 0.6, generator.random((6, 6)), 0).astype(np.float32)
    matrix = sp.csr_matrix(weights)
    table = TopK(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
    source = np.array([-1, 0, 2, -1, 3, 5, -1])  # 1 and 4 are gone, three others are new
    place = np.array([1, -1, 2, 4, -1, 5])
    moved = table.moved(source, place)
    moved.check("moved", 7)
    known = source >= 0
    expected = np.where(known[:, None] & known[None, :], weights[np.ix_(source, source)], 0)
    np.testing.assert_array_equal(dense(moved), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.array([0, 2, 1, 2])}, "rise"),
        ({"edges": np.array([0, 1, 2])}, "rise"),
        ({"edges": np.array([0, 1, 2, 3])}, "rise"),
        ({"items": np.array([0, 3], np.int32)}, "positions"),
        ({"items": np.array([0, -1], np.int32)}, "positions"),
        ({"items": np.array([0, 1])}, "expected int32"),
        ({"weights": np.array([1.0, np.nan], np.float32)}, "finite"),
        ({"weights": np.array([1.0], np.float32)}, "rise"),
    ],
)
def test_arrays_that_are_no_table_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    given = {"edges": np.array([0, 1, 2, 2]), "items": np.array([1, 0], np.int32), "weights": np.ones(2, np.float32)}
    TopK(**given).check("together", 3)
    with pytest.raises(ValueError, match=rf"together_\w+ .*{message}"):
        TopK(**{**given, **change}).check("together", 3)


def test_what_was_had_often_and_lately_comes_first() -> None:
    times = np.array([0.0, 0.0, 1.0, 2.0, 3.0]) * HALF_LIFE_MS
    past = PastEvents(np.array([4, 4, 2, 4, 7]), np.array([1.0, 1.0, 1.0, 0.1, 0.5]), times)
    # 4: 2 / 8 + .1 / 2 = .3; 2: 1 / 4; 7: .5
    assert had_before(past).tolist() == [7, 4, 2]
    assert had_before(PastEvents(np.array([5, 3]), np.ones(2), np.zeros(2))).tolist() == [3, 5]
    assert had_before(PastEvents(np.empty(0, int), np.empty(0), np.empty(0))).tolist() == []

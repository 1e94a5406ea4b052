import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from models.retrieval import whole_catalogue as recommend_matrix
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores, top_k


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), m=st.integers(1, 12), k=st.integers(1, 15))
def test_top_k_is_a_full_sort_with_lower_columns_first(seed: int, n: int, m: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.choice([-np.inf, 0.0, 1.0, 2.0], size=(n, m)).astype(generator.choice([np.float32, np.float64]))
    found = top_k(scores, k)
    for row, got in zip(scores, found, strict=True):
        best = [c for c in np.lexsort((np.arange(m), -row)).tolist() if np.isfinite(row[c])][:k]
        assert got.tolist() == best + [-1] * (k - len(best))


def test_seen_items_and_those_out_of_the_catalogue_do_not_appear() -> None:
    vectors = np.ones((2, 1), np.float32)
    factors = np.array([[4.0], [3.0], [2.0], [1.0]], np.float32)
    seen = sp.csr_matrix(np.array([[1, 0, 0, 0], [0, 1, 1, 0]]))
    candidates = np.array([True, True, True, False])
    assert recommend_factors(vectors, factors, seen, 3, candidates).tolist() == [[1, 2, -1], [0, -1, -1]]


def test_popularity_is_the_same_for_everyone_but_for_the_seen() -> None:
    seen = sp.csr_matrix(np.array([[0, 0, 0], [0, 1, 0]]))
    assert recommend_scores(np.array([1, 5, 5]), seen, 2).tolist() == [[1, 2], [2, 0]]


def test_blocks_do_not_change_the_answer(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(0)
    vectors, factors = generator.normal(size=(17, 3)), generator.normal(size=(11, 3))
    seen = sp.random(17, 11, 0.2, format="csr", rng=generator)
    whole = recommend_factors(vectors, factors, seen, 4)
    monkeypatch.setattr(recommend_matrix, "_CELLS", 25)
    np.testing.assert_array_equal(recommend_factors(vectors, factors, seen, 4), whole)

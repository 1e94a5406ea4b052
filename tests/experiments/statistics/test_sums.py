import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.statistics.sums import PairSums, Sums, merge

COUNTS = st.lists(st.integers(0, 10_000), max_size=30)
PAIRS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(-10_000, 10_000)), max_size=20)


def pair_sums(rows: list[tuple[int, int]]) -> PairSums:
    return PairSums.of(np.array([x for x, _ in rows], float), np.array([y for _, y in rows], float))


@settings(deadline=None)
@given(COUNTS, COUNTS, COUNTS)
def test_merging_counts_is_associative_and_equals_a_recomputation(a: list[int], b: list[int], c: list[int]) -> None:
    x, y, z = (Sums.of(np.array(part, float)) for part in (a, b, c))
    assert (x + y) + z == x + (y + z) == merge([z, x, y]) == Sums.of(np.array(a + b + c, float))


@settings(deadline=None)
@given(PAIRS, PAIRS, PAIRS)
def test_merging_pairs_of_counts_is_exact(
    a: list[tuple[int, int]], b: list[tuple[int, int]], c: list[tuple[int, int]]
) -> None:
    x, y, z = (pair_sums(part) for part in (a, b, c))
    assert (x + y) + z == x + (y + z) == z + x + y == pair_sums(a + b + c)


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_mean_and_variance_are_numpys(values: list[float]) -> None:
    rows = np.array(values)
    sums = Sums.of(rows)
    assert sums.mean == pytest.approx(rows.mean(), abs=1e-9)
    assert sums.variance == pytest.approx(rows.var(ddof=1), rel=1e-6, abs=1e-12 * float(rows @ rows) * 2 + 1e-300)


def test_covariance_is_numpys() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(2, 3, 200), rng.normal(-1, 2, 200)
    found = PairSums.of(x, y)
    assert found.covariance == pytest.approx(np.cov(x, y)[0, 1])
    assert found.main == Sums.of(x)
    assert found.other == Sums.of(y)


def test_undefined_is_none_and_equal_values_have_no_variance() -> None:
    assert Sums.of(np.array([])).mean is None
    assert Sums.of(np.array([2.0])).variance is None
    assert PairSums.of(np.array([2.0]), np.array([1.0])).covariance is None
    # In floating point the difference of these sums is not 0.
    assert Sums.of(np.full(1_000_003, 0.1)).variance == 0.0


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"clicks\[1\] is nan: 1 of 2 values are not finite"):
        Sums.of(np.array([1.0, np.nan]), "clicks")
    with pytest.raises(ValueError, match=r"before\[0\] is inf"):
        PairSums.of(np.array([1.0]), np.array([np.inf]), "clicks", "before")
    with pytest.raises(ValueError, match="clicks has 2 users, before has 1"):
        PairSums.of(np.ones(2), np.ones(1), "clicks", "before")
    with pytest.raises(ValueError, match="one-dimensional"):
        Sums.of(np.ones((2, 2)))
    with pytest.raises(ValueError, match="total must be finite, not nan"):
        Sums(3, float("nan"), 1.0)
    with pytest.raises(ValueError, match="n must be a whole number from 0, not -1"):
        Sums(-1, 0.0, 0.0)
    with pytest.raises(ValueError, match="other_squares must not be negative"):
        PairSums(2, 1.0, 1.0, 1.0, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"total is 3\.0, but there are no users"):
        Sums(0, 3.0, 3.0)

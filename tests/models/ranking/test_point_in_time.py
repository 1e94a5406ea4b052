import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from models.ranking.point_in_time import DecayedPopularity, TrendingStrength, activity, category_affinities

DAY, HOUR = 86_400_000.0, 3_600_000.0


def direct(item: np.ndarray, times: np.ndarray, weights: np.ndarray, n: int, at_ms: float) -> np.ndarray:
    """The definition, without any trick."""
    shares = []
    for half_life in (DAY, 7 * DAY):
        decayed = np.where(times <= at_ms, weights * 2.0 ** (np.minimum(times - at_ms, 0.0) / half_life), 0.0)
        sums = np.bincount(item, decayed, minlength=n)
        shares.append(sums / sums.max() if sums.max() > 0 else sums)
    return np.array(shares)


def test_popularity_is_the_definition_over_years() -> None:
    generator = np.random.default_rng(0)
    times = np.sort(generator.random(400)) * 5000 * DAY  # 5,000 halvings: 2^5000 is no double
    item, weights = generator.integers(0, 20, 400), generator.random(400)
    popularity = DecayedPopularity(item, times, weights, 20)
    for at_ms in (times[0] - 1, times[3], times[100], times[100] + 0.5, times[399] + DAY):
        popularity.advance(int(np.searchsorted(times, at_ms, side="right")))
        found = popularity.shares()
        np.testing.assert_allclose(found, direct(item, times, weights, 20, at_ms), atol=1e-6)


def test_what_comes_later_changes_nothing() -> None:
    """The leak test: other events after the moment, the same popularity."""
    generator = np.random.default_rng(1)
    times = np.sort(generator.random(100)) * 30 * DAY
    item, weights = generator.integers(0, 9, 100), np.ones(100)
    other_item, other_weights = item.copy(), weights.copy()
    other_item[60:], other_weights[60:] = 3, 100.0
    one, other = DecayedPopularity(item, times, weights, 9), DecayedPopularity(other_item, times, other_weights, 9)
    one.advance(60)
    other.advance(60)
    np.testing.assert_array_equal(one.shares(), other.shares())
    np.testing.assert_array_equal(one.shares(np.array([3, 1])), one.shares()[:, [3, 1]])
    np.testing.assert_array_equal(one.weekly_shares(), one.shares()[1])


def test_what_is_trending_by_the_hour_keeps_its_order_over_years() -> None:
    generator = np.random.default_rng(3)
    hours = np.sort(generator.integers(0, 20_000, 400)).astype(float)
    item, weights = generator.integers(0, 20, 400), generator.random(400)
    strength = TrendingStrength(item, hours * HOUR, weights, 20, HOUR)
    assert (strength.after(0) == -np.inf).all()
    for n in (5, 100, 400):
        found = strength.after(n)
        for one in np.unique(item[:n]):
            mine = np.flatnonzero(item[:n] == one).tolist()
            total = sum((Fraction(weights[k]) * 2 ** int(hours[k]) for k in mine), Fraction(0))
            shift = total.numerator.bit_length() - total.denominator.bit_length()
            assert found[one] == pytest.approx(shift + math.log2(total / Fraction(2) ** shift), abs=1e-9)
    with pytest.raises(ValueError, match="must rise"):
        strength.after(1)


def test_a_late_event_counts_by_its_own_time() -> None:
    generator = np.random.default_rng(2)
    times = np.sort(generator.random(200)) * 900 * DAY
    item, weights = generator.integers(0, 9, 200), generator.random(200)
    arrival = np.argsort(times + generator.random(200) * 20 * DAY)
    popularity = DecayedPopularity(item[arrival], times[arrival], weights[arrival], 9)
    popularity.advance(200)
    np.testing.assert_allclose(popularity.shares(), direct(item, times, weights, 9, times[-1]), atol=1e-6)


def test_moments_must_rise() -> None:
    popularity = DecayedPopularity(np.zeros(3, int), np.arange(3.0), np.ones(3), 1)
    popularity.advance(3)
    with pytest.raises(ValueError, match="must rise"):
        popularity.advance(0)


def test_activity_halves() -> None:
    found = activity(np.array([0.0, DAY]), DAY)
    assert found.tolist() == pytest.approx([1 + 2.0**-24, 1.5, 1 + 2 ** (-1 / 7)])


def test_affinity_shares() -> None:
    memberships = sp.csr_matrix(np.array([[1, 0], [1, 1]], np.float32))
    lengths, at_ms = np.array([2, 0, 1]), np.array([7 * DAY, 0.0, 0.0])
    memberships = sp.vstack([memberships, [[0, 2]]]).tocsr()
    found = category_affinities(np.array([1.0, -0.5, 3.0]), np.array([0.0, 7 * DAY, 0.0]), memberships, lengths, at_ms)
    assert found[0].tolist() == pytest.approx([0.0, -1.0])  # 1 / 2 - 0.5, and -0.5
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [0.0, 1.0]

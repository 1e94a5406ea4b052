import numpy as np
import pytest

from models.ranking.point_in_time import DecayedPopularity, activity, category_affinity

DAY = 86_400_000.0


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
        found = popularity.after(int(np.searchsorted(times, at_ms, side="right")))
        np.testing.assert_allclose(found, direct(item, times, weights, 20, at_ms), atol=1e-6)


def test_what_comes_later_changes_nothing() -> None:
    """The leak test: other events after the moment, the same popularity."""
    generator = np.random.default_rng(1)
    times = np.sort(generator.random(100)) * 30 * DAY
    item, weights = generator.integers(0, 9, 100), np.ones(100)
    other_item, other_weights = item.copy(), weights.copy()
    other_item[60:], other_weights[60:] = 3, 100.0
    one = DecayedPopularity(item, times, weights, 9).after(60)
    np.testing.assert_array_equal(one, DecayedPopularity(other_item, times, other_weights, 9).after(60))


def test_moments_must_rise() -> None:
    popularity = DecayedPopularity(np.zeros(3, int), np.arange(3.0), np.ones(3), 1)
    popularity.after(3)
    with pytest.raises(ValueError, match="must rise"):
        popularity.after(0)
    with pytest.raises(ValueError, match="must rise"):
        DecayedPopularity(np.zeros(2, int), np.array([2.0, 1.0]), np.ones(2), 1)


def test_activity_halves() -> None:
    found = activity(np.array([0.0, DAY]), DAY)
    assert found.tolist() == pytest.approx([1 + 2.0**-24, 1.5, 1 + 2 ** (-1 / 7)])


def test_affinity_shares() -> None:
    memberships = np.array([[1, 0], [1, 1]], np.float32)
    found = category_affinity(np.array([1.0, -0.5]), np.array([0.0, 7 * DAY]), memberships, 7 * DAY)
    assert found.tolist() == pytest.approx([0.0, -1.0])  # 1 / 2 - 0.5, and -0.5
    assert np.isnan(category_affinity(np.empty(0), np.empty(0), np.empty((0, 2)), 0.0)).all()

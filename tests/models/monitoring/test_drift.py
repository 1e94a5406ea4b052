"""Drift of distributions: what drifts is found, what does not stays quiet, and how often it does not is measured."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from models.monitoring.drift import (
    activity_bins,
    compare_windows,
    jensen_shannon,
    population_stability,
    shared_bins,
    user_counts,
)

MAX_PSI = 0.2
WINDOW = 1000
POPULATION = 4000


def people(taste: np.ndarray, seed: int, spread: float = 20.0) -> np.ndarray:
    """(POPULATION, n items) of users who each have a taste of their own around the common one: up to each item, the
    chance that an event is on that item or one before it."""
    own = np.random.default_rng(seed).dirichlet(taste * spread, POPULATION).cumsum(axis=1)
    return own / own[:, -1:]


def window(seed: int, tastes: np.ndarray) -> tuple[list[int], np.ndarray]:
    """About a thousand events of some of these users."""
    generator = np.random.default_rng(seed)
    numbers = 1 + generator.geometric(0.2, WINDOW)
    n_users = int(np.searchsorted(numbers.cumsum(), WINDOW)) + 1
    user = np.repeat(np.arange(n_users), numbers[:n_users])
    chosen = generator.permutation(POPULATION)[:n_users]
    return user.tolist(), (tastes[chosen[user]] < generator.random((len(user), 1))).sum(axis=1)


def drifted(seed: int, before: np.ndarray, after: np.ndarray) -> bool:
    (users, then), (others, now) = window(2 * seed, before), window(2 * seed + 1, after)
    first, second, n = shared_bins(then.tolist(), now.tolist(), 30, 20)
    return compare_windows(user_counts(users, first, n), user_counts(others, second, n), MAX_PSI, seed).drifted


def test_the_published_example_of_the_index() -> None:
    # Shares of .5 and .5 against .7 and .3: .2 ln 1.4 - .2 ln .6, with so many events that smoothing vanishes.
    found = population_stability(np.array([5e8, 5e8]), np.array([7e8, 3e8]))
    assert found == pytest.approx(0.2 * np.log(1.4) - 0.2 * np.log(0.6), rel=1e-6)


def test_the_distance_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        first, second = generator.integers(0, 50, (2, 12)) + np.eye(2, 12, dtype=int)
        assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, base=2))
    assert jensen_shannon(np.array([3, 0]), np.array([0, 4])) == pytest.approx(1.0)


def test_another_taste_for_items_is_found() -> None:
    ramp = np.arange(1.0, 201.0)
    before, after = people(ramp / ramp.sum(), 1), people(ramp[::-1] / ramp.sum(), 2)
    found = [drifted(seed, before, after) for seed in range(20)]
    assert all(found)


def test_users_with_tastes_of_their_own_are_no_drift() -> None:
    """Each user's events hang together, which a test over events would take for a change."""
    ramp = 1.0 / np.arange(1.0, 201.0)
    everybody = people(ramp / ramp.sum(), 1)
    alarms = sum(drifted(seed, everybody, everybody) for seed in range(300))
    assert alarms <= 3  # 1 % by the level of the test, less by the threshold on top of it


@pytest.mark.parametrize("bins", [3, 18])
def test_few_bins_as_of_event_types_and_categories(bins: int) -> None:
    taste = people(np.full(bins, 1.0 / bins), 1)
    other = people(np.linspace(4.0, 0.2, bins) / np.linspace(4.0, 0.2, bins).sum(), 2)

    def one(seed: int, after: np.ndarray) -> bool:
        (users, then), (others, now) = window(2 * seed, taste), window(2 * seed + 1, after)
        return compare_windows(user_counts(users, then, bins), user_counts(others, now, bins), MAX_PSI, seed).drifted

    assert sum(one(seed, taste) for seed in range(300)) <= 3
    assert sum(one(seed, other) for seed in range(20)) >= 19


def test_activity_of_users() -> None:
    def activity(generator: np.random.Generator, rate: float) -> np.ndarray:
        users = np.repeat(np.arange(150), 3)
        own = generator.gamma(2.0, rate / 2.0, 150)[users]  # each user is as active in all lists
        bins, n = activity_bins(generator.poisson(own).tolist())
        return user_counts(users.tolist(), bins, n)

    def one(seed: int, rate: float) -> bool:
        generator = np.random.default_rng(seed)
        return compare_windows(activity(generator, 1.0), activity(generator, rate), MAX_PSI, seed).drifted

    assert sum(one(seed, 1.0) for seed in range(300)) <= 3
    assert sum(one(seed, 3.0) for seed in range(20)) >= 19


def test_activity_is_binned_by_what_followed_a_list() -> None:
    bins, n = activity_bins([0, 1, 2, 5, 6, 400])
    assert (bins.tolist(), n) == ([0, 1, 2, 3, 4, 4], 5)


def test_an_empty_window_is_an_error_and_not_zero() -> None:
    with pytest.raises(ValueError, match="without events"):
        compare_windows(np.zeros((3, 2)), np.ones((3, 2)), MAX_PSI, 0)


def test_one_robot_is_no_drift() -> None:
    """It makes as many events as all others together, all on one item: by that alone the windows are far apart."""
    ramp = 1.0 / np.arange(1.0, 201.0)
    alike = np.tile((ramp / ramp.sum()).cumsum(), (POPULATION, 1))
    for seed in range(20):
        (users, then), (others, now) = (window(2 * seed + place, alike) for place in (0, 1))
        others, now = [*others, *[10_000] * WINDOW], np.append(now, np.full(WINDOW, 199))
        first, second, n = shared_bins(then.tolist(), now.tolist(), 30, 20)
        found = compare_windows(user_counts(users, first, n), user_counts(others, second, n), MAX_PSI, seed)
        assert found.psi > MAX_PSI
        assert not found.drifted

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.bandit import ADAPTIVE_WARNING, probability_best, top_two_weights
from experiments.statistics.sums import Sums


def rate(n: int, successes: int) -> Sums:
    return Sums(n, float(successes), float(successes))


def test_probability_best_of_two_is_the_normal_probability() -> None:
    found = probability_best(np.array([0.10, 0.13]), np.array([0.01, 0.02]))
    assert found[1] == pytest.approx(stats.norm.cdf(0.03 / (0.01**2 + 0.02**2) ** 0.5), abs=1e-6)


def test_probability_best_is_the_share_of_posterior_draws() -> None:
    means, errors = np.array([0.1, 0.11, 0.09, 0.105]), np.array([0.005, 0.001, 0.02, 0.01])
    draws = np.random.default_rng(5).normal(means, errors, (400_000, 4))
    shares = np.bincount(draws.argmax(axis=1), minlength=4) / len(draws)
    assert probability_best(means, errors) == pytest.approx(shares, abs=0.004)


def test_the_tails_are_right_far_behind_a_clear_leader() -> None:
    # 20 and 21 standard errors of the difference behind; against the leader alone, which is all that counts there.
    errors = np.array([0.01, 0.01, 0.01])
    found = probability_best(np.array([1.0, 1.0 - 0.2 * 2**0.5, 1.0 - 0.21 * 2**0.5]), errors)
    assert found[1:] == pytest.approx(stats.norm.sf([20.0, 21.0]), rel=1e-3)


def test_the_rule_by_hand_for_two_arms() -> None:
    # With two arms the rival is always the other one: beta a + (1 - beta) (1 - a).
    arms = [rate(1000, 100), rate(1000, 130)]
    found = top_two_weights(arms, floor=0.1, beta=0.7)
    assert found.best is not None
    a = found.best[1]
    assert found.weights[1] == pytest.approx(0.1 + 0.8 * (0.7 * a + 0.3 * (1 - a)))


def test_top_two_is_the_share_of_simulated_choices() -> None:
    arms = [rate(2000, 200), rate(2000, 230), rate(2000, 215)]
    found = top_two_weights(arms, floor=0.0, beta=0.5)
    rng = np.random.default_rng(6)
    means = np.array([arm.total / arm.n for arm in arms])
    errors = np.array([(arm.variance or 0.0) ** 0.5 / arm.n**0.5 for arm in arms])
    draws = rng.normal(means, errors, (300_000, 3)).argmax(axis=1)
    first, coins, place, chosen = draws[:50_000], rng.random(50_000), 50_000, []
    for leader, coin in zip(first, coins, strict=True):
        if coin >= 0.5:
            while draws[place % len(draws)] == leader:
                place += 1
            chosen.append(draws[place % len(draws)])
            place += 1
        else:
            chosen.append(leader)
    assert found.weights == pytest.approx(np.bincount(chosen, minlength=3) / 50_000, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(100, 10**6), st.floats(0, 1)), min_size=2, max_size=5),
    st.floats(0, 0.2),
    st.booleans(),
)
def test_weights_sum_to_one_and_keep_the_floor(arms: list[tuple[int, float]], floor: float, higher: bool) -> None:
    sums = [rate(n, round(n * share)) for n, share in arms]
    found = top_two_weights(sums, floor=floor, higher_is_better=higher)
    assert sum(found.weights) == pytest.approx(1.0)
    assert all(weight >= floor * (1 - 1e-9) for weight in found.weights)
    assert top_two_weights(sums[::-1], floor=floor, higher_is_better=higher).weights == pytest.approx(
        found.weights[::-1], abs=1e-6
    )


def test_a_hopeless_arm_keeps_the_floor_and_the_two_best_share_the_rest() -> None:
    found = top_two_weights([rate(10**6, 100_000), rate(10**6, 200_000), rate(10**6, 150_000)], floor=0.05)
    assert found.weights == pytest.approx((0.05, 0.05 + 0.85 * 0.5, 0.05 + 0.85 * 0.5), abs=1e-3)
    turned = top_two_weights([rate(10**6, 100_000), rate(10**6, 200_000), rate(10**6, 150_000)], higher_is_better=False)
    assert turned.weights[1] == pytest.approx(0.05, abs=1e-3)


def test_an_arm_whose_users_all_did_the_same_is_not_certain() -> None:
    found = top_two_weights([rate(100, 0), rate(100, 1)])
    assert found.best is not None
    assert 0.05 < found.best[0] < 0.5


@pytest.mark.parametrize(
    ("arms", "reason"),
    [
        ([rate(99, 9), rate(500, 50)], "too early: the smallest arm has 99 of 100 users"),
        ([Sums(0, 0, 0), rate(500, 50)], "too early: the smallest arm has 0 of 100 users"),
        ([rate(500, 0), rate(500, 0)], "zero variance: every user of every arm has the same value"),
    ],
)
def test_equal_weights_while_nothing_is_known(arms: list[Sums], reason: str) -> None:
    found = top_two_weights(arms)
    assert (found.weights, found.best, found.reason) == ((0.5, 0.5), None, reason)
    assert found.warning == ADAPTIVE_WARNING


def test_it_finds_the_better_arm_and_biases_the_other() -> None:
    rng = np.random.default_rng(7)
    truth, last, seen = np.array([0.10, 0.10, 0.14]), [], []
    for _ in range(60):
        totals, users = np.zeros(3), np.zeros(3, int)
        weights = (1 / 3, 1 / 3, 1 / 3)
        for _ in range(15):
            new = rng.multinomial(300, weights)
            totals += rng.binomial(new, truth)
            users += new
            found = top_two_weights([rate(int(n), int(t)) for n, t in zip(users, totals, strict=True)])
            weights = found.weights  # type: ignore[assignment]
        last.append(weights)
        seen.append(totals / users)
    assert np.mean([row[2] for row in last]) > 0.45
    # The reason for the warning: arms without merit look worse than they are.
    assert np.mean(seen, axis=0)[:2].mean() < 0.10


@pytest.mark.parametrize(
    ("arms", "other", "message"),
    [
        ([rate(200, 1)], {}, "needs at least two"),
        ([rate(200, 1)] * 3, {"floor": 0.4}, "floor must be from 0 to 1/3"),
        ([rate(200, 1)] * 2, {"beta": 0.0}, "beta must be above 0"),
    ],
)
def test_impossible_settings_are_refused(arms: list[Sums], other: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top_two_weights(arms, **other)  # type: ignore[arg-type]

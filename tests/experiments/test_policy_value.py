from typing import Any

import numpy as np
import pytest

from experiments.policy_value import off_policy_value

ACTIONS, CONTEXTS = 6, 4


class Log:
    """A logged policy over few contexts and actions, whose every expectation is known."""

    def __init__(self, seed: int, rows: int, per_user: int = 1) -> None:
        # The world is the same in every run; only what was logged differs.
        world = np.random.default_rng(100)
        self.means = world.beta(2.0, 5.0, (CONTEXTS, ACTIONS))
        self.logging = world.dirichlet(np.full(ACTIONS, 3.0), CONTEXTS) * 0.7 + 0.3 / ACTIONS
        self.target = world.dirichlet(np.full(ACTIONS, 2.0), CONTEXTS)
        self.truth = float((self.target * self.means).sum(axis=1).mean())
        rng = np.random.default_rng(seed)
        self.users = np.repeat(np.arange(rows // per_user), per_user)
        self.context = np.repeat(rng.integers(0, CONTEXTS, rows // per_user), per_user)
        cumulative = self.logging[self.context].cumsum(axis=1)
        self.action = np.minimum((rng.random(rows)[:, None] > cumulative).sum(axis=1), ACTIONS - 1)
        # Users who are keener than others, whatever they are shown.
        keen = np.repeat(rng.uniform(0.5, 1.5, rows // per_user), per_user)
        self.rewards = (rng.random(rows) < self.means[self.context, self.action] * keen).astype(float)

    def value(self, model: np.ndarray | None = None, propensity: np.ndarray | None = None, **other: Any) -> Any:
        """The estimates, with a reward model (CONTEXTS, ACTIONS) or the true one."""
        m = self.means if model is None else model
        logged = self.logging if propensity is None else propensity
        return off_policy_value(
            self.rewards,
            logged[self.context, self.action],
            self.target[self.context, self.action],
            model_reward=m[self.context, self.action],
            target_value=(self.target * m).sum(axis=1)[self.context],
            **other,
        )


def test_published_numbers(oracles: dict[str, Any]) -> None:
    (oracle,) = oracles["off_policy"]
    names = ("rewards", "logged_propensity", "target_probability")
    models = {name: np.array(oracle[name]) for name in ("model_reward", "target_value")}
    found = off_policy_value(*(np.array(oracle[name]) for name in names), **models)
    expect, tolerance = oracle["expect"], oracle["tolerance"]
    assert found.ips.value == pytest.approx(expect["ips"], abs=tolerance)
    assert found.snips.value == pytest.approx(expect["snips"], abs=tolerance)
    assert found.doubly_robust.value == pytest.approx(expect["dr"], abs=tolerance)
    assert found.effective_sample_size == pytest.approx(expect["effective_sample_size"], abs=tolerance)


@pytest.mark.parametrize("per_user", [1, 5])
def test_the_truth_is_inside_the_intervals(per_user: int) -> None:
    runs = [Log(seed, 2_000, per_user) for seed in range(500)]
    found = [run.value(users=run.users) for run in runs]
    truth = runs[0].truth
    for name in ("ips", "snips", "doubly_robust"):
        estimates = [getattr(value, name) for value in found]
        inside = [estimate.interval[0] <= truth <= estimate.interval[1] for estimate in estimates]
        claimed = np.mean([estimate.standard_error for estimate in estimates])
        # The standard deviation of 500 runs is itself uncertain by 3 %.
        assert claimed == pytest.approx(np.std([estimate.value for estimate in estimates]), rel=0.1)
        print(f"off-policy {name}, {per_user} rows a user: truth inside in {np.mean(inside):.3f}")
        assert 0.93 <= np.mean(inside) <= 0.98


def test_rows_of_one_user_are_one_observation() -> None:
    log = Log(1, 2_000, per_user=20)
    together, apart = log.value(users=log.users), log.value()
    assert (together.users, apart.users) == (100, 2_000)
    for name in ("ips", "snips"):
        assert getattr(together, name).value == getattr(apart, name).value
        assert getattr(together, name).standard_error > 1.1 * getattr(apart, name).standard_error


def test_doubly_robust_needs_only_one_of_the_two_to_be_right() -> None:
    rng = np.random.default_rng(8)
    runs = [Log(seed, 2_000) for seed in range(60)]
    truth, wrong_model = runs[0].truth, rng.random((CONTEXTS, ACTIONS))
    wrong_propensity = rng.dirichlet(np.full(ACTIONS, 3.0), CONTEXTS)
    model_wrong = [run.value(wrong_model).doubly_robust.value for run in runs]
    propensity_wrong = [run.value(propensity=wrong_propensity) for run in runs]
    assert np.mean(model_wrong) == pytest.approx(truth, abs=0.004)
    assert np.mean([value.doubly_robust.value for value in propensity_wrong]) == pytest.approx(truth, abs=0.01)
    assert abs(np.mean([value.ips.value for value in propensity_wrong]) - truth) > 0.03
    assert any("propensities are wrong" in warning for warning in propensity_wrong[0].warnings)
    right = runs[0].value()
    assert right.warnings == ()
    assert right.supported == right.rows
    assert right.doubly_robust.standard_error < right.ips.standard_error


def test_the_policy_that_served_gets_its_own_mean() -> None:
    log = Log(2, 500)
    p = log.logging[log.context, log.action]
    found = off_policy_value(log.rewards, p, p)
    assert found.ips.value == pytest.approx(log.rewards.mean())
    assert found.snips.value == pytest.approx(log.rewards.mean())
    assert found.effective_sample_size == pytest.approx(500)
    assert found.ips.standard_error == pytest.approx(log.rewards.std(ddof=1) / 500**0.5)
    assert found.doubly_robust.reason == "no reward model was given"
    assert found.warnings == ()


def test_self_normalised_weights_do_not_add_noise_to_equal_rewards() -> None:
    log = Log(3, 500)
    arrays = log.logging[log.context, log.action], log.target[log.context, log.action]
    equal = off_policy_value(np.full(500, 0.7), *arrays)
    assert equal.snips.value == pytest.approx(0.7)
    assert equal.snips.reason == "zero variance"
    assert equal.ips.standard_error is not None
    shifted, plain = (off_policy_value(log.rewards + shift, *arrays).snips for shift in (5.0, 0.0))
    assert shifted.standard_error == pytest.approx(plain.standard_error)


def test_heavy_weights_are_warned_of_and_can_be_cut() -> None:
    p, q = np.full(100, 0.5), np.full(100, 0.5)
    p[0] = 0.001
    found = off_policy_value(np.ones(100), p, q)
    assert found.effective_sample_size == pytest.approx(599.0**2 / (500.0**2 + 99))
    assert found.warnings[0].startswith("effective sample size 1.4 of 100")
    assert "one row carries 83% of the weight" in found.warnings
    cut = off_policy_value(np.ones(100), p, q, largest_weight=5.0)
    assert (cut.clipped, cut.largest_weight) == (1, 5.0)
    assert any("1 weights were cut" in warning for warning in cut.warnings)


def test_undefined_has_a_reason() -> None:
    nothing = off_policy_value(np.array([]), np.array([]), np.array([]))
    assert (nothing.ips.value, nothing.ips.reason, nothing.effective_sample_size) == (None, "no rows", None)
    apart = off_policy_value(np.array([1.0, 0.0]), np.full(2, 0.5), np.zeros(2))
    assert (apart.supported, apart.effective_sample_size) == (0, 0.0)
    for estimate in (apart.ips, apart.snips, apart.doubly_robust):
        assert (estimate.value, estimate.interval) == (None, None)
        assert estimate.reason == "no support: the target would show nothing of what was logged"
    one = off_policy_value(np.array([1.0, 0.0]), np.full(2, 0.5), np.full(2, 0.5), users=np.array(["u", "u"]))
    assert (one.ips.interval, one.ips.reason) == (None, "one user, which has no variance")
    same = off_policy_value(np.full(10, 0.1), np.full(10, 0.3), np.full(10, 0.3))
    assert (same.ips.interval, same.snips.reason) == (None, "zero variance")


HALF = np.full(2, 0.5)


@pytest.mark.parametrize(
    ("arrays", "other", "message"),
    [
        ((np.array([1.0, np.nan]), HALF, HALF), {}, r"rewards\[1\] is nan"),
        ((np.ones(2), np.array([0.5, 0.0]), HALF), {}, r"logged_propensity\[1\] is 0.0, which is no probability"),
        ((np.ones(2), HALF, np.array([1.5, 0.5])), {}, r"target_probability\[0\] is 1.5"),
        ((np.ones(3), HALF, HALF), {}, "logged_propensity has 2 rows, rewards has 3"),
        ((np.ones(2), HALF, HALF), {"model_reward": HALF}, "needed together"),
        ((np.ones(2), HALF, HALF), {"users": np.array([1])}, "users has 1 rows"),
        ((np.ones(2), HALF, HALF), {"largest_weight": 0.0}, "largest_weight must be above 0"),
    ],
)
def test_bad_input_is_refused_by_name(arrays: Any, other: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        off_policy_value(*arrays, **other)

import numpy as np
import pytest

from configs.settings import Training
from models.evaluation.gate import Footprint, JudgedRequests, judge, per_user

SMALL = Footprint(load_s=0.1, size_mb=1.0)


def judged(ndcg: np.ndarray, coverage: float = 0.4) -> JudgedRequests:
    return JudgedRequests(np.arange(len(ndcg)), ndcg, coverage)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(400) * 0.2


def test_the_first_model_is_always_taken() -> None:
    verdict = judge(None, judged(noise(0)), Footprint(99.0, 1.0), Training(), 0)
    assert verdict.promote
    assert str(verdict).startswith("promoted: the first model; it takes 99.0 s")


def test_a_better_model_wins_and_a_worse_one_does_not() -> None:
    base = noise(0)
    better, worse = judged(base + 0.05), judged(base)
    verdict = judge(worse, better, SMALL, Training(), 0)
    assert verdict.promote
    assert verdict.difference is not None
    assert verdict.difference.mean == pytest.approx(0.05)
    assert not judge(better, worse, SMALL, Training(), 0).promote


def test_two_models_that_do_the_same_are_not_told_apart() -> None:
    """Regression: "promoted: NDCG@10 +0.0000 [+0.0000, +0.0000]" was said of equal recipes on equal data."""
    verdict = judge(judged(noise(0)), judged(noise(0)), SMALL, Training(), 0)
    assert not verdict.promote
    assert verdict.difference is None
    assert str(verdict).startswith("not promoted: no evidence: both models gave the 400 users lists of the same worth")


def test_the_margin_is_what_was_configured() -> None:
    one, other = judged(noise(0)), judged(noise(0) + 0.009)
    assert judge(one, other, SMALL, Training(margin=0.008), 0).promote
    verdict = judge(one, other, SMALL, Training(margin=0.01), 0)
    assert not verdict.promote
    assert "wanted at least +0.0100" in str(verdict)


def test_a_gain_that_may_be_a_large_loss_is_none() -> None:
    few = np.array([0.9, -0.5, 0.1, -0.4])
    verdict = judge(judged(np.full(4, 0.5)), judged(0.5 + few), SMALL, Training(fewest_judged_users=4), 0)
    assert not verdict.promote
    assert "may be a loss of more than 0.0200" in str(verdict)


@pytest.mark.parametrize(
    ("footprint", "coverage", "words"),
    [
        (Footprint(31.0, 1.0), 0.4, "31.0 s to load"),
        (Footprint(0.1, 5000.0), 0.4, "5000 MB large"),
        (SMALL, 0.2, "20.0% of the catalogue"),
    ],
)
def test_each_guardrail_holds(footprint: Footprint, coverage: float, words: str) -> None:
    verdict = judge(judged(noise(0)), judged(noise(0) + 0.1, coverage), footprint, Training(), 0)
    assert not verdict.promote
    assert words in str(verdict)


def test_users_count_alike_and_undefined_is_not_zero() -> None:
    assert per_user(np.array([5, 5, 7, 8]), np.array([1.0, 0.0, 0.25, np.nan])).tolist() == [0.5, 0.25]


@pytest.mark.parametrize("users", [0, 19])
def test_no_evidence_is_no_promotion_but_for_the_first_model(users: int) -> None:
    """Nobody, or too few, did anything since the champion was trained: however well the new one looks, it waits."""
    ndcg = np.concatenate([np.full(users, 0.9), np.full(3, np.nan)])
    verdict = judge(judged(ndcg - 0.5), judged(ndcg), SMALL, Training(), 0)
    assert not verdict.promote
    assert f"{users} users did something" in str(verdict)
    assert "it takes 20" in str(verdict)
    assert judge(None, judged(ndcg), SMALL, Training(), 0).promote

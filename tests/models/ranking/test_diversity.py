import numpy as np
import pytest

from models.ranking.diversity import rerank

# Two clusters: three items alike, with the best scores, and one that differs.
FACTORS = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0.2], np.float32)


def test_without_diversity_the_order_is_that_of_the_scores() -> None:
    assert rerank(SCORES[::-1], FACTORS, 0.0, 4).tolist() == [3, 2, 1, 0]


def test_diversity_brings_the_different_item_forward() -> None:
    # (1 - .5) * 0 - .5 * 0 = 0 for the different item, against .5 * .857 - .5 * 1 = -.07 for its rival
    assert rerank(SCORES, FACTORS, 0.5, 2).tolist() == [0, 3]
    assert rerank(SCORES, FACTORS, 0.1, 2).tolist() == [0, 1]


@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
def test_every_item_is_chosen_once(diversity: float) -> None:
    generator = np.random.default_rng(1)
    chosen = rerank(generator.normal(size=50).astype("f"), generator.normal(size=(50, 8)).astype("f"), diversity, 100)
    assert sorted(chosen.tolist()) == list(range(50))


def test_mean_similarity_falls_as_diversity_rises() -> None:
    generator = np.random.default_rng(2)
    factors = generator.normal(size=(100, 8)).astype(np.float32)
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    scores = (factors @ generator.normal(size=8)).astype(np.float32)

    def similarity(diversity: float) -> float:
        top = unit[rerank(scores, factors, diversity, 10)]
        return float((top @ top.T)[np.triu_indices(10, 1)].mean())

    values = [similarity(diversity) for diversity in (0.0, 0.3, 0.6, 0.9)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.2


def test_equal_scores_and_zero_factors_do_no_harm() -> None:
    assert rerank(np.zeros(5, np.float32), np.zeros((5, 2), np.float32), 0.5, 3).tolist() == [0, 1, 2]
    assert rerank(np.zeros(0, np.float32), np.zeros((0, 2), np.float32), 0.5, 3).tolist() == []

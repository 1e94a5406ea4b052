import numpy as np
import pytest

from models.monitoring.bias import BiasModel, BiasTerms, fit_bias


def test_biases_of_a_known_model_are_found() -> None:
    generator = np.random.default_rng(0)
    users, items = generator.normal(0, 0.4, 200), generator.normal(0, 0.5, 100)
    user, item = np.repeat(np.arange(200), 100), np.tile(np.arange(100), 200)
    ratings = 3.5 + users[user] + items[item] + generator.normal(0, 0.3, len(user))
    found = fit_bias(user, item, ratings, 200, 100)
    assert found.mean == pytest.approx(ratings.mean())
    assert np.corrcoef(found.items, items)[0, 1] > 0.99
    assert np.corrcoef(found.users, users)[0, 1] > 0.98
    assert np.sqrt(np.mean((ratings - found.mean - found.items[item] - found.users[user]) ** 2)) < 0.33


def test_few_ratings_are_drawn_towards_the_mean() -> None:
    items = fit_bias(np.array([0, 1, 2]), np.array([0, 0, 1]), np.array([5.0, 5.0, 2.0]), 3, 3).items
    assert 0 < items[0] < 0.1
    assert items[2] == 0.0


def test_the_unknown_are_average() -> None:
    terms = BiasTerms(3.0, np.array([0.5]), np.array([-0.25]))
    model = BiasModel(terms, np.array(["a"], object), np.array(["u"], object))
    assert model.predict("u", "a") == 3.25
    assert model.predict("nobody", "nothing") == 3.0


def test_no_ratings_is_an_error() -> None:
    with pytest.raises(ValueError, match="no ratings"):
        fit_bias(np.empty(0, int), np.empty(0, int), np.empty(0), 1, 1)

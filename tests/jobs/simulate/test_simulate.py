"""Simulated users: their taste is known, and so is the true value of every list."""

import numpy as np
import pandas as pd
import pytest

from jobs.simulate.simulate import true_effects
from jobs.simulate.simulated_users import (
    DISLIKED,
    FEWEST_RATINGS,
    INDIFFERENT,
    LIKED,
    UNKNOWN,
    Drift,
    SimulatedUser,
    chances,
    draw_users,
    take_up,
    true_value,
)  # fmt: skip

USER = SimulatedUser("sim-t-0", (("old", 4.0, 5), ("older", 2.0, 1)), {"good": 5.0, "fair": 3.0, "bad": 1.0})
HORROR = Drift("Horror", frozenset({"bad"}))


def interactions(users: int = 3, ratings: int = FEWEST_RATINGS) -> pd.DataFrame:
    rows = [(f"u{u}", f"i{n}", "rating", float(n % 5 + 1), 1_000 * n) for u in range(users) for n in range(ratings)]
    rows += [("few", "i1", "rating", 5.0, 1), ("u0", "i99", "click", None, 1)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "event_type", "value", "timestamp_ms"])


def test_history_and_taste_of_a_user_are_disjoint_and_those_of_a_real_one() -> None:
    found = draw_users(interactions(), 20, seed=1, run="t")
    assert [user.user_id for user in found] == [f"sim-t-{n}" for n in range(20)]
    for user in found:
        known = {item for item, _, _ in user.history}
        assert len(known) >= 5
        assert not known & set(user.taste)
        assert len(user.taste) == FEWEST_RATINGS // 2
        assert "i99" not in known | set(user.taste)
        assert [time_ms for _, _, time_ms in user.history] == sorted(time_ms for _, _, time_ms in user.history)
        assert all(rating == int(item[1:]) % 5 + 1 for item, rating in user.taste.items())
    assert draw_users(interactions(), 20, seed=1, run="t") == found
    assert draw_users(interactions(), 20, seed=2, run="t") != found
    with pytest.raises(ValueError, match="no taste to copy"):
        draw_users(interactions(ratings=5), 1, seed=0, run="t")


def test_a_chance_is_taste_times_place() -> None:
    items = ["good", "fair", "bad", "unheard"]
    plain = chances(USER, items, bias=0.0, drift=None)
    assert plain.tolist() == [LIKED, INDIFFERENT, DISLIKED, UNKNOWN]
    assert chances(USER, items, bias=1.0, drift=None) == pytest.approx(plain / [1, 2, 3, 4])
    assert chances(USER, items, bias=0.0, drift=HORROR).tolist() == [UNKNOWN, UNKNOWN, LIKED, UNKNOWN]


def test_the_true_value_of_a_list_is_how_often_something_of_it_is_taken_up() -> None:
    likely = chances(USER, ["good", "fair", "bad"], bias=0.5, drift=None)
    generator = np.random.default_rng(0)
    taken = [take_up(USER, ["good", "fair", "bad"], likely, None, generator) for _ in range(20_000)]
    assert np.mean([bool(one) for one in taken]) == pytest.approx(true_value(likely), abs=0.015)
    ratings = [one.rating for mine in taken for one in mine if one.item_id == "good" and one.rating is not None]
    assert {4.0, 5.0} == set(ratings)


def test_true_effects_are_paired() -> None:
    found = true_effects([{"a": 0.2, "b": 0.3}, {"a": 0.6, "b": 0.7}], ["a", "b"])
    assert found["click_through"] == pytest.approx({"a": 0.4, "b": 0.5})
    assert found["effects"]["b"]["effect"] == pytest.approx(0.1)
    assert found["effects"]["b"]["standard_error"] == pytest.approx(0.0, abs=1e-12)

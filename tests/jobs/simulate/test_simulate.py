"""Simulated users: their taste is known, and so is the true value of every list."""

import numpy as np
import pandas as pd
import pytest

from configs.event_types import load_event_types
from jobs.simulate.simulate import true_effects
from jobs.simulate.simulated_users import (
    DISLIKED,
    INDIFFERENT,
    LIKED,
    MANY_ITEMS,
    UNKNOWN,
    Drift,
    Goal,
    SimulatedUser,
    Taste,
    chances,
    draw_users,
    take_up,
    true_value,
)  # fmt: skip

TASTE = {"good": Taste(LIKED, 5.0), "fair": Taste(INDIFFERENT, 3.0), "bad": Taste(DISLIKED, 1.0)}
USER = SimulatedUser("sim-t-0", (), TASTE, Goal("rating", 4.0))
HORROR = Drift("Horror", frozenset({"bad"}))
MOVIES = load_event_types("movies")


def interactions(users: int = 25, ratings: int = MANY_ITEMS) -> pd.DataFrame:
    rows = [(f"u{u}", f"i{n}", "rating", float(n % 5 + 1), 1_000 * n + 1) for u in range(users) for n in range(ratings)]
    rows += [("few", f"i{n}", "rating", 5.0, 1) for n in range(3)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "event_type", "value", "timestamp_ms"])


def test_history_and_taste_of_a_user_are_disjoint_and_those_of_a_real_one() -> None:
    found = draw_users(interactions(), MOVIES, 20, seed=1, run="t")
    assert [user.user_id for user in found] == [f"sim-t-{n}" for n in range(20)]
    for user in found:
        known = {event.item_id for event in user.history}
        assert len(known) >= 5
        assert not known & set(user.taste)
        assert len(user.taste) == MANY_ITEMS // 2
        assert [event.time_ms for event in user.history] == sorted(event.time_ms for event in user.history)
        for item, taste in user.taste.items():
            rating = int(item[1:]) % 5 + 1
            assert taste == Taste({1: DISLIKED, 2: DISLIKED, 3: INDIFFERENT}.get(rating, LIKED), rating)
    assert draw_users(interactions(), MOVIES, 20, seed=1, run="t") == found
    assert draw_users(interactions(), MOVIES, 20, seed=2, run="t") != found
    with pytest.raises(ValueError, match="events with 6 items: there is no taste to copy"):
        draw_users(interactions(ratings=5), MOVIES, 1, seed=0, run="t")


def test_without_ratings_the_taste_is_what_was_bought_and_buying_is_the_goal() -> None:
    """A shop's data could not be simulated: only ratings were a taste."""
    rows = [("ann", f"s{n}", "view", None, n) for n in range(10)]
    rows += [("ann", f"s{n}", "purchase", 20.0 + n, 100 + n) for n in range(0, 10, 2)]
    rows += [("few", "s1", "view", None, 1)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "event_type", "value", "timestamp_ms"])
    (ann,) = draw_users(frame, load_event_types("shops"), 1, seed=0, run="t")
    assert ann.goal == Goal("purchase", 24.0)
    assert {(event.event_type, event.value) for event in ann.history} <= {
        ("view", None), *(("purchase", 20.0 + n) for n in range(0, 10, 2))
    }  # fmt: skip
    # A purchase leaves the item open, so that what the system was told may be taken up again.
    assert ann.taste == {f"s{n}": Taste(LIKED, 20.0 + n) if n % 2 == 0 else Taste(INDIFFERENT, None) for n in range(10)}
    generator = np.random.default_rng(0)
    taken = {one for _ in range(50) for one in take_up(ann, ["s1", "s2"], np.array([1.0, 1.0]), None, generator)}
    assert {(one.item_id, one.event_type, one.value) for one in taken} == {
        ("s1", "click", None), ("s2", "click", None), ("s1", "purchase", 24.0), ("s2", "purchase", 22.0)
    }  # fmt: skip


def test_times_that_say_nothing_are_not_told() -> None:
    found = draw_users(interactions(), MOVIES, 1, seed=1, run="t", time_trusted=False)
    assert {event.time_ms for event in found[0].history} == {0}


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
    ratings = [one.value for mine in taken for one in mine if one.item_id == "good" and one.value is not None]
    assert {4.0, 5.0} == set(ratings)


def test_true_effects_are_paired() -> None:
    found = true_effects([{"a": 0.2, "b": 0.3}, {"a": 0.6, "b": 0.7}], ["a", "b"])
    assert found["click_through"] == pytest.approx({"a": 0.4, "b": 0.5})
    assert found["effects"]["b"]["effect"] == pytest.approx(0.1)
    assert found["effects"]["b"]["standard_error"] == pytest.approx(0.0, abs=1e-12)

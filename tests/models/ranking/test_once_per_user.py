"""No user counts more than once for an item, by a definition without any trick."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.ranking.once_per_user import added_popularity

HOUR = 3_600_000.0
HALF_LIVES = np.array([HOUR, 24 * HOUR])
EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 60), st.sampled_from([0.0, 0.1, 1.0])), max_size=30
)


def popularity(events: list[tuple[int, int, int, float]], limit: int, at_hour: float = 60.0) -> np.ndarray:
    """(h, 3) of items 0 to 2 at an hour."""
    user, item, hour, weight = (np.array(column) for column in zip(*events, strict=True))
    times = hour * HOUR
    added = added_popularity(user, item, times, weight, HALF_LIVES, limit)
    decayed = added * np.exp2((times - at_hour * HOUR) / HALF_LIVES[:, None])
    return np.stack([np.bincount(item, row, minlength=3) for row in decayed])


def definition(events: list[tuple[int, int, int, float]], at_hour: float = 60.0) -> np.ndarray:
    """Of every user and item the event that weighs most by then."""
    found = np.zeros((2, 3))
    for row, half_life in enumerate(HALF_LIVES / HOUR):
        most: dict[tuple[int, int], float] = {}
        for user, item, hour, weight in events:
            most[user, item] = max(most.get((user, item), 0.0), weight * 2 ** ((hour - at_hour) / half_life))
        for (_, item), amount in most.items():
            found[row, item] += amount
    return found


@given(EVENTS.filter(len), st.randoms(use_true_random=False))
def test_of_what_a_user_did_with_an_item_only_the_weightiest_counts_in_any_order(
    events: list[tuple[int, int, int, float]], random: "np.random.Generator"
) -> None:
    expected = definition(events)
    np.testing.assert_allclose(popularity(events, 500), expected, rtol=1e-9, atol=1e-15)
    random.shuffle(events)
    np.testing.assert_allclose(popularity(events, 500), expected, rtol=1e-9, atol=1e-15)


def test_an_item_that_fell_out_of_the_history_counts_anew_and_what_is_too_old_for_it_not_at_all() -> None:
    again = [(0, 0, 1, 1.0), (0, 1, 2, 1.0), (0, 2, 3, 1.0), (0, 0, 4, 1.0)]
    both = 2**-59.0 + 2**-56.0
    np.testing.assert_allclose(popularity(again, 2)[0, 0], both)
    np.testing.assert_allclose(popularity(again, 3)[0, 0], 2**-56.0)
    late = [*again, (0, 1, 0, 1.0)]
    np.testing.assert_array_equal(popularity(late, 2), popularity(again, 2))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.event_types import load_event_types
from models.factors import interest as module
from models.factors.interest import Interest, aggregate_interest

TYPES = load_event_types("movies")
CODES = {name: TYPES[name].code for name in TYPES.by_name}
Row = tuple[int, int, int, str, float]


def interest(rows: list[Row], weighting: str = "preference") -> Interest:
    users, items, times, names, values = zip(*rows, strict=True)
    return aggregate_interest(
        np.array(users),
        np.array(items),
        np.array(times),
        np.array([CODES[name] for name in names], np.uint8),
        np.array(values, float),
        TYPES,
        weighting,  # type: ignore[arg-type]
    )


NONE = float("nan")


def test_one_row_a_pair_sorted_with_the_largest_confidence() -> None:
    found = interest([(1, 7, 5, "click", NONE), (0, 9, 1, "view", NONE), (1, 7, 3, "purchase", NONE)])
    assert found.users.tolist() == [0, 1]
    assert found.items.tolist() == [9, 7]
    np.testing.assert_array_equal(found.weights, np.array([0.1, 1.0], np.float32))
    assert not found.refused.any()


def test_a_refusal_overrules_until_the_user_judges_again() -> None:
    click, dislike, like = (0, 1, 10, "click", NONE), (0, 1, 20, "dislike", NONE), (0, 1, 30, "like", NONE)
    refused = interest([click, dislike, (0, 1, 40, "purchase", NONE)])
    assert refused.weights.tolist() == [0.0]
    assert refused.refused.tolist() == [True]
    changed = interest([click, dislike, like])
    assert changed.weights.tolist() == [1.0]
    assert changed.refused.tolist() == [False]


def test_a_low_rating_refuses_and_a_later_high_one_takes_it_back() -> None:
    assert interest([(0, 1, 1, "rating", 5.0), (0, 1, 2, "rating", 2.0)]).refused.tolist() == [True]
    assert interest([(0, 1, 1, "rating", 2.0), (0, 1, 2, "rating", 4.0)]).weights.tolist() == [1.0]


def test_consumption_counts_what_was_disliked() -> None:
    found = interest([(0, 1, 1, "rating", 1.0), (0, 2, 1, "rating", 5.0)], "consumption")
    assert found.weights.tolist() == [0.5, 1.0]
    assert not found.refused.any()


def test_equal_times_are_decided_by_code_then_value() -> None:
    # dislike has the higher code, so at one and the same time it is the later judgement
    assert interest([(0, 1, 5, "dislike", NONE), (0, 1, 5, "like", NONE)]).refused.tolist() == [True]
    assert interest([(0, 1, 5, "rating", 1.0), (0, 1, 5, "rating", 4.0)]).refused.tolist() == [False]


def test_a_refusal_of_one_item_leaves_the_others_alone() -> None:
    found = interest([(0, 1, 1, "dislike", NONE), (0, 2, 1, "like", NONE), (1, 1, 1, "like", NONE)])
    assert found.refused.tolist() == [True, False, False]
    assert found.weights.tolist() == [0.0, 1.0, 1.0]


def test_no_events_give_no_rows() -> None:
    none = np.zeros(0, int)
    found = aggregate_interest(none, none, none, none.astype(np.uint8), none.astype(float), TYPES, "preference")
    assert len(found.users) == len(found.weights) == 0


def test_an_unknown_index_is_refused() -> None:
    with pytest.raises(ValueError, match="indices >= 0"):
        interest([(0, -1, 1, "click", NONE)])


row = st.tuples(
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 4),
    st.sampled_from(["view", "click", "like", "dislike", "rating", "purchase", "search"]),
    st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]),
).map(lambda r: (*r[:4], r[4] if r[3] == "rating" else NONE))


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(row, min_size=1, max_size=40), seed=st.integers(0, 1000), weighting=st.sampled_from(["p", "c"]))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], seed: int, weighting: str) -> None:
    name = {"p": "preference", "c": "consumption"}[weighting]
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    one, other = interest(rows, name), interest(shuffled, name)
    for field in ("users", "items", "weights", "refused"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(row, min_size=1, max_size=40))
def test_it_agrees_with_the_definition_read_row_by_row(rows: list[Row]) -> None:
    found = interest(rows)
    pairs = sorted({(r[0], r[1]) for r in rows})
    assert list(zip(found.users.tolist(), found.items.tolist(), strict=True)) == pairs
    for (user, item), weight, refused in zip(pairs, found.weights, found.refused, strict=True):
        mine = [r for r in rows if (r[0], r[1]) == (user, item)]
        judged = [(r[2], CODES[r[3]], -1.0 if np.isnan(r[4]) else r[4], r[3]) for r in mine]
        judged = [r for r in judged if TYPES[r[3]].judgement]
        latest = max(judged)[3:] + max(judged)[2:3] if judged else ("none", 0.0)
        no = latest[0] == "dislike" or (latest[0] == "rating" and latest[1] < 3)
        codes = np.array([CODES[r[3]] for r in mine], np.uint8)
        best = TYPES.confidence(codes, np.array([r[4] for r in mine]), "preference").max()
        assert refused == no
        assert weight == (0.0 if no else best)


@pytest.mark.parametrize("block", [1, 7, 50])
def test_blocks_give_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    generator = np.random.default_rng(0)
    names = np.array(["click", "rating", "dislike"])[generator.integers(3, size=200)]
    users = np.minimum(generator.integers(12, size=200), 8)  # one user has more events than a block of 50
    values = np.where(names == "rating", generator.integers(1, 6, size=200).astype(float), NONE)
    rows: list[Row] = list(
        zip(
            users.tolist(),
            generator.integers(6, size=200).tolist(),
            generator.integers(40, size=200).tolist(),
            names.tolist(),
            values.tolist(),
            strict=True,
        )
    )
    whole = interest(rows)
    monkeypatch.setattr(module, "_BLOCK", block)
    parted = interest(rows)
    for name in Interest.__annotations__:
        np.testing.assert_array_equal(getattr(parted, name), getattr(whole, name))

"""From events to what a step of training reads; nothing here needs JAX."""

import importlib.util

import numpy as np
import pytest
from pydantic import ValidationError

from models.sequence.batches import PIECES, batches, cut
from models.sequence.encoder import SequenceEncoder
from models.sequence.histories import UserSequences, sequence_of, sequences_of
from models.sequence.parameters import SequenceParameters
from models.sequence.training import SequenceUnavailableError, fit_sequence
from models.sequence.weights import check_weights
from tests.models.sequence.chains import SMALL, chains, drawn_weights


def test_a_sequence_holds_what_speaks_for_interest_and_nothing_twice_in_a_row() -> None:
    events = np.array([4, 2, 2, 9, 2, 7, 7])
    assert sequence_of(events, np.array([2, 7]), 10).tolist() == [2, 7]
    assert sequence_of(events, np.array([2, 4, 7, 9]), 10).tolist() == [4, 2, 9, 2, 7]
    assert sequence_of(events, np.array([2, 4, 7, 9]), 2).tolist() == [2, 7]
    assert sequence_of(events, np.array([], int), 10).tolist() == []
    assert sequence_of(events[:0], np.array([2]), 10).tolist() == []


def test_training_cuts_events_by_the_same_rule_in_the_order_of_their_turns() -> None:
    user, item, turn = np.array([1, 0, 1, 1, 3, 1]), np.array([5, 8, 6, 5, 2, 5]), np.array([4, 3, 5, 2, 1, 0])
    found = sequences_of(user, item, turn, 4)
    assert [found.items[found.starts[one] : found.starts[one + 1]].tolist() for one in range(4)] == [
        [8],
        [5, 6],
        [],
        [2],
    ]
    events = item[user == 1][np.argsort(turn[user == 1])]
    assert sequence_of(events, np.array([5, 6]), 10).tolist() == [5, 6]


def test_pieces_hold_each_event_once_as_one_to_foretell() -> None:
    sequences = UserSequences(np.arange(22, dtype=np.int32), np.array([0, 1, 3, 22]))
    starts, ends = cut(sequences, 8)
    foretold = [event for start, end in zip(starts, ends, strict=True) for event in range(start + 1, end)]
    assert sorted(foretold) == [2, *range(4, 22)]
    assert (ends - starts).max() == 9


def test_a_user_with_100_000_events_is_no_more_than_a_row_of_readers() -> None:
    sequences = UserSequences(np.arange(100_000, dtype=np.int32), np.array([0, 100_000]))
    starts, ends = cut(sequences, 200)
    assert len(starts) == PIECES
    assert ends.max() == 100_000
    assert starts.min() == 100_000 - 200 * PIECES - 1


def test_a_batch_is_padded_at_the_end_and_its_targets_are_what_comes_next() -> None:
    stream = batches(chains(5, 40, length=3), 8, tokens=8, generator=np.random.default_rng(0))
    seen = [next(stream) for _ in range(3)]
    assert {batch.items.shape for batch in seen} == {(4, 2)}  # a quarter of the length is enough
    real = np.concatenate([batch.items[batch.items[:, 0] >= 0] for batch in seen])
    targets = np.concatenate([batch.targets[batch.items[:, 0] >= 0] for batch in seen])
    np.testing.assert_array_equal(targets, (real + 1) % 40)
    assert len(real) >= 5


def test_one_event_a_user_is_refused_in_words() -> None:
    lonely = UserSequences(np.array([0, 1, 2], np.int32), np.array([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="no user has two events in a row"):
        next(batches(lonely, 8, 8, np.random.default_rng(0)))


def test_without_the_extra_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SequenceUnavailableError, match=r"pip install --require-hashes -r requirements-sequence\.lock"):
        fit_sequence(chains(5, 9), 9, SMALL, 0)


def test_heads_must_divide_the_dimensions() -> None:
    with pytest.raises(ValidationError, match="heads: 3 do not divide 64 dimensions"):
        SequenceParameters(heads=3)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("query", None, "sequence.query is missing"),
        (
            "inner",
            np.zeros((2, 8, 7), np.float32),
            r"sequence.inner is float32 \(2, 8, 7\), expected float32 \(2, 8, 8\)",
        ),
        ("last_scale", np.ones(8), "sequence.last_scale is float64"),
        ("last_shift", np.full(8, np.nan, np.float32), "sequence.last_shift holds numbers that are not finite"),
        ("other", np.ones(8, np.float32), "sequence: arrays"),
    ],
)
def test_damaged_weights_are_named(name: str, array: np.ndarray | None, said: str) -> None:
    _, weights = drawn_weights(5, SMALL)
    check_weights(weights, SMALL.heads, SMALL.dimensions)
    weights.pop(name, None)
    if array is not None:
        weights[name] = array
    with pytest.raises(ValueError, match=said):
        check_weights(weights, SMALL.heads, SMALL.dimensions)


def test_a_user_without_events_has_no_vector_and_a_long_history_counts_by_its_end() -> None:
    factors, weights = drawn_weights(30, SMALL)
    encoder = SequenceEncoder(factors, weights, SMALL.heads)
    long = np.random.default_rng(0).integers(30, size=50)
    vectors, known = encoder.encode([long, long[:0], long[-SMALL.length :]])
    assert known.tolist() == [True, False, True]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not vectors[1].any()
    other, _ = encoder.encode([long[-SMALL.length + 1 :]])
    assert np.abs(other[0] - vectors[0]).max() > 1e-3

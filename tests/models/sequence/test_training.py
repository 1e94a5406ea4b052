"""What needs JAX: the network against its numpy reading, and what it learns."""

import numpy as np
import pytest

from models.sequence.encoder import SequenceEncoder
from models.sequence.histories import UserSequences
from models.sequence.training import FittedSequence, fit_sequence
from tests.models.sequence.chains import SMALL, chains, drawn_weights

jax = pytest.importorskip("jax", reason="the extra `sequence` is not installed")
N_ITEMS = 24


@pytest.fixture(scope="module")
def fitted() -> FittedSequence:
    return fit_sequence(chains(60, N_ITEMS), N_ITEMS, SMALL, seed=3)


@pytest.mark.parametrize("length", [1, 2, 5, 8, 20])
def test_numpy_reads_the_network_as_jax_does(length: int) -> None:
    from models.sequence.network import hidden

    factors, weights = drawn_weights(30, SMALL)
    items = np.random.default_rng(length).integers(30, size=(3, length))
    vectors, _ = SequenceEncoder(factors, weights, SMALL.heads).encode(list(items))
    read = items[:, -SMALL.length :]
    # What stands in the padding must not be read.
    padded = np.full((3, SMALL.length), 7, np.int32)
    padded[:, : read.shape[1]] = read
    expected = np.asarray(hidden({"items": factors, **weights}, padded, SMALL.heads))[:, read.shape[1] - 1]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_it_learns_what_comes_next(fitted: FittedSequence) -> None:
    histories = [np.arange(first, first + 5) % N_ITEMS for first in range(N_ITEMS)]
    vectors, _ = fitted.encoder().encode(histories)
    best = (vectors @ fitted.item_factors.T).argmax(axis=1)
    right = (np.arange(N_ITEMS) + 5) % N_ITEMS
    assert (best == right).mean() > 0.9
    assert max(fitted.measured) > 0.9
    assert 1 <= fitted.rounds <= SMALL.rounds


def test_the_same_data_and_seed_give_the_same_arrays(fitted: FittedSequence) -> None:
    again = fit_sequence(chains(60, N_ITEMS), N_ITEMS, SMALL, seed=3)
    np.testing.assert_array_equal(again.item_factors, fitted.item_factors)
    for name, array in fitted.weights.items():
        np.testing.assert_array_equal(again.weights[name], array)
    other = fit_sequence(chains(60, N_ITEMS), N_ITEMS, SMALL, seed=4)
    assert not np.array_equal(other.item_factors, fitted.item_factors)


def test_the_drawn_items_stand_for_all_others() -> None:
    """The softmax over some items, corrected by how often they are drawn, is near that over all."""
    from models.sequence.network import loss
    from models.sequence.training import _Draw

    factors, weights = drawn_weights(300, SMALL)
    arrays = {"items": factors, **weights}
    generator = np.random.default_rng(0)
    items, targets = generator.integers(300, size=(2, 4, 8)).astype(np.int32)
    counts = generator.integers(1, 1000, size=300)
    sizes = {number: _Draw(counts, number, generator)() for number in (200, 300)}
    assert len(sizes[200][0]) == 200
    whole = float(loss(arrays, items, targets, *sizes[300], None, SMALL.heads, 0.0))
    draw = _Draw(counts, 200, generator)
    some = [float(loss(arrays, items, targets, *draw(), None, SMALL.heads, 0.0)) for _ in range(12)]
    uncorrected = float(loss(arrays, items, targets, draw()[0], np.zeros(200, np.float32), None, SMALL.heads, 0.0))
    assert abs(np.mean(some) - whole) < 0.1
    assert abs(uncorrected - whole) > 0.2


def test_items_without_events_and_rare_ones_have_no_vector() -> None:
    sequences = chains(60, N_ITEMS)
    few = SMALL.model_copy(update={"rounds": 1, "steps": 2, "most_items": N_ITEMS})
    lonely = UserSequences(
        np.append(sequences.items, np.int32(28)), np.append(sequences.starts, sequences.starts[-1] + 1)
    )
    found = fit_sequence(lonely, 30, few, 0)
    assert found.item_factors[:N_ITEMS].any(axis=1).all()
    assert not found.item_factors[N_ITEMS:].any()


def test_two_items_are_enough_and_one_is_not() -> None:
    few = SMALL.model_copy(update={"rounds": 1, "steps": 1, "blocks": 1})
    with jax.disable_jit():
        found = fit_sequence(chains(20, 2), 2, few, 0)
    assert np.isfinite(found.item_factors).all()
    one = UserSequences(np.zeros(3, np.int32), np.array([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="fewer than two items"):
        fit_sequence(one, 2, few, 0)

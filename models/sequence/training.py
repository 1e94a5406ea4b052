"""Fits a sequence model. Needs the extra `sequence` (JAX) where `fit_sequence` is called, and nowhere else."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.sequence.batches import batches
from models.sequence.encoder import SequenceEncoder
from models.sequence.histories import UserSequences
from models.sequence.parameters import SequenceParameters

_HELD_USERS = 500  # the most, and a tenth of all: the training ends by what they do
_HELD_EVENTS = 2_000  # of all of them, the latest of each; 20 of one at most
_CELLS = 4_000_000  # scores held at once: 16 MB


class SequenceUnavailableError(RuntimeError):
    """The packages that train a sequence model are not installed; the message says how to install them."""


@dataclass(frozen=True)
class FittedSequence:
    """A trained model as plain arrays.

    Attributes:
        item_factors: (n_items, d) float32; zeros for items that were not learned.
        weights: see `models.sequence.weights`.
        rounds: how many rounds of training it is the outcome of.
        measured: of each round, what was measured on users who were held out; empty where none were.
    """

    parameters: SequenceParameters
    item_factors: np.ndarray
    weights: dict[str, np.ndarray]
    rounds: int
    measured: tuple[float, ...] = ()

    def encoder(self) -> SequenceEncoder:
        """The model, read forwards."""
        return SequenceEncoder(self.item_factors, self.weights, self.parameters.heads)


def require_jax() -> None:
    """Raises `SequenceUnavailableError` where JAX is not installed."""
    if importlib.util.find_spec("jax") is None:
        raise SequenceUnavailableError(
            "a sequence model is trained with JAX, which is not installed: "
            ".venv/bin/pip install --require-hashes -r requirements-sequence.lock"
        )


def fit_sequence(
    sequences: UserSequences,
    n_items: int,
    parameters: SequenceParameters,
    seed: int,
    rounds: int | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> FittedSequence:
    """Learn to foretell each event of each sequence from those before it.

    The number of rounds is found on users who are held out: NDCG@10 of their latest events over all items. The outcome
    is that of the best round.

    Args:
        sequences: of all users, item positions below `n_items`.
        rounds: train on everybody for so many rounds; None to find the number.
        note: is told how each round went.

    Returns:
        The same arrays for the same data, parameters and seed on the same machine.

    Raises:
        SequenceUnavailableError: JAX is not installed.
        ValueError: no user has two events in a row, or fewer than two items have any.
        FloatingPointError: the training diverged.
    """
    require_jax()
    import jax

    from models.sequence import network

    counts = np.bincount(sequences.items, minlength=n_items)
    learned, sequences = _most_frequent(sequences, counts, parameters.most_items)
    if len(learned) < 2:
        raise ValueError("fewer than two items have events that speak for them")
    generator = np.random.default_rng(seed)
    held: UserSequences | None = None
    if rounds is None:
        sequences, held = _held_out(sequences, generator)
    arrays = network.first_arrays(len(learned), parameters, generator)
    zeros = jax.tree.map(np.zeros_like, arrays)
    moments = zeros, jax.tree.map(np.zeros_like, arrays)
    draw = _Draw(counts[learned], parameters.negatives, generator)
    stream = batches(sequences, parameters.length, parameters.tokens, generator)
    keys = jax.random.key(seed)
    how = {"heads": parameters.heads, "dropout": parameters.dropout, "rate": parameters.learning_rate}
    measured: list[float] = []
    best: dict[str, np.ndarray] = {}
    number = 0
    for turn in range(rounds or parameters.rounds):
        losses: list[Any] = []
        for _ in range(parameters.steps):
            number += 1
            batch, drawn = next(stream), draw()
            arrays, moments, value = network.step(
                arrays, moments, np.float32(number), *batch, *drawn, jax.random.fold_in(keys, number), **how
            )
            losses.append(value)
        mean = float(np.mean([float(value) for value in losses]))
        if not np.isfinite(mean):
            raise FloatingPointError("the training diverged; take a smaller learning rate")
        text = f"round {turn + 1}: loss {mean:.3f}"
        if held is not None:
            plain = {name: np.asarray(array) for name, array in arrays.items()}
            measured.append(_ndcg(plain, parameters.heads, held))
            text += f", NDCG@10 {measured[-1]:.4f} of {len(held)} users who are held out"
            if measured[-1] >= max(measured):
                best = {name: array.copy() for name, array in plain.items()}
        note(text)
        if held is not None and turn - int(np.argmax(measured)) >= parameters.patience:
            break
    found = best or {name: np.array(array) for name, array in arrays.items()}
    factors = np.zeros((n_items, parameters.dimensions), np.float32)
    factors[learned] = found.pop("items")
    done = int(np.argmax(measured)) + 1 if measured else turn + 1
    return FittedSequence(parameters, factors, found, done, tuple(measured))


class _Draw:
    """Draws the items that one step compares with: half evenly, half by how frequent they are."""

    def __init__(self, counts: np.ndarray, number: int, generator: np.random.Generator) -> None:
        self._generator, self._number = generator, number
        share = 0.5 / len(counts) + 0.5 * counts / counts.sum()
        self._edges = np.cumsum(share / share.sum())
        self._log_expected = np.log(number * share).astype(np.float32)
        self._all = len(counts) <= number

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        n = len(self._edges)
        if self._all:
            return np.arange(n, dtype=np.int32), np.zeros(n, np.float32)
        drawn = np.searchsorted(self._edges, self._generator.random(self._number), side="right")
        drawn = np.minimum(drawn, n - 1).astype(np.int32)
        return drawn, self._log_expected[drawn]


def _most_frequent(sequences: UserSequences, counts: np.ndarray, most: int) -> tuple[np.ndarray, UserSequences]:
    """(k,) rising, the items that are learned, and the sequences of these alone, in positions among them."""
    learned = np.flatnonzero(counts > 0)
    if len(learned) > most:
        learned = np.sort(learned[np.argsort(-counts[learned], kind="stable")[:most]])
    place = np.full(len(counts), -1, np.int32)
    place[learned] = np.arange(len(learned))
    items = place[sequences.items]
    before = np.concatenate([[0], np.cumsum(items >= 0, dtype=np.int64)])
    return learned, UserSequences(items[items >= 0], before[sequences.starts])


def _held_out(sequences: UserSequences, generator: np.random.Generator) -> tuple[UserSequences, UserSequences | None]:
    """Everybody else, and some users with two events or more; all, and None, where those are fewer than ten."""
    longer = np.flatnonzero(np.diff(sequences.starts) >= 2)
    if len(longer) < 10:
        return sequences, None
    chosen = np.sort(generator.choice(longer, min(_HELD_USERS, len(longer) // 10), replace=False))
    return sequences.some(np.setdiff1d(np.arange(len(sequences)), chosen)), sequences.some(chosen)


def _ndcg(arrays: dict[str, np.ndarray], heads: int, held: UserSequences) -> float:
    """Mean NDCG@10 of the latest events, each from those before it, among the items that the user did not have yet (or
    all, where the event is on one that the user had)."""
    factors = arrays["items"]
    encoder = SequenceEncoder(factors, {name: array for name, array in arrays.items() if name != "items"}, heads)
    each = min(20, max(1, _HELD_EVENTS // len(held)))
    before, targets = [], []
    for user in range(len(held)):
        mine = held.items[held.starts[user] : held.starts[user + 1]]
        for place in range(max(1, len(mine) - each), len(mine)):
            before.append(mine[:place])
            targets.append(int(mine[place]))
    vectors, _ = encoder.encode(before)
    gains = np.zeros(len(targets))
    step = max(1, _CELLS // len(factors))
    for start in range(0, len(targets), step):
        scores = vectors[start : start + step] @ factors.T
        for row, target in enumerate(targets[start : start + step]):
            own, likes = scores[row], scores[row, target]
            if target not in before[start + row]:
                own[before[start + row]] = -np.inf
            rank = 1 + int(np.count_nonzero(own > likes))
            gains[start + row] = 1 / np.log2(rank + 1) if rank <= 10 else 0.0
    return float(gains.mean())

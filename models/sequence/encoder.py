"""From the sequence of a user's events to a vector, in numpy."""

from collections.abc import Sequence

import numpy as np

from models.sequence.weights import Weights

EPSILON = 1e-6  # of the normalisation; `models.sequence.network` has the same
_MASKED = np.float32(-1e9)


class SequenceEncoder:
    """The trained network, read forwards. A user's score of an item is the inner product of both vectors.

    Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with normalisation before each layer.

    Args:
        item_factors: (n_items, d) float32, the item vectors that the network reads and is scored against.
        weights: the other arrays (`models.sequence.weights`).
        heads: attention heads.
    """

    def __init__(self, item_factors: np.ndarray, weights: Weights, heads: int) -> None:
        self.item_factors = item_factors
        self.weights = weights
        self.heads = heads
        self.length, self.n_factors = weights["positions"].shape
        self.blocks = len(weights["query"])
        # One product instead of three; the queries scaled once for all.
        scale = np.float32(1 / np.sqrt(self.n_factors / heads))
        self._inward = np.concatenate([scale * weights["query"], weights["key"], weights["value"]], axis=2)
        self._future = np.triu(np.full((self.length, self.length), _MASKED), 1)

    def encode(self, sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a batch of users.

        Args:
            sequences: for each of B users, (m,) int item positions, the latest last; the last `length` are read.

        Returns:
            vectors (B, d) float32, and known (B,) bool: False, and zeros, for a user without any event.

        Raises:
            FloatingPointError: a vector is not finite; the arrays are damaged.
        """
        vectors = np.zeros((len(sequences), self.n_factors), np.float32)
        known = np.array([len(sequence) > 0 for sequence in sequences], bool)
        for row in np.flatnonzero(known).tolist():
            vectors[row] = self._encode_one(sequences[row][-self.length :])
        if not np.isfinite(vectors).all():
            raise FloatingPointError("the vector of a sequence is not finite")
        return vectors, known

    def _encode_one(self, items: np.ndarray) -> np.ndarray:
        w, m = self.weights, len(items)
        x = self.item_factors[items] * np.float32(np.sqrt(self.n_factors)) + w["positions"][:m]
        for block in range(self.blocks):
            # Of the last block only the latest event's row is read.
            asked = slice(m - 1, m) if block == self.blocks - 1 else slice(0, m)
            inward = _normalised(x, w["attention_scale"][block], w["attention_shift"][block]) @ self._inward[block]
            x = x[asked] + self._attend(inward, asked) @ w["attention_out"][block]
            inner = _normalised(x, w["inner_scale"][block], w["inner_shift"][block]) @ w["inner"][block]
            inner += w["inner_bias"][block]
            x = x + np.maximum(inner, 0, out=inner) @ w["inner_out"][block] + w["inner_out_bias"][block]
        return np.asarray(_normalised(x, w["last_scale"], w["last_shift"])[-1], np.float32)

    def _attend(self, inward: np.ndarray, asked: slice) -> np.ndarray:
        """(a, d): what the rows `asked` read of themselves and of those before them."""
        m = len(inward)
        query, key, value = (part.reshape(m, self.heads, -1).transpose(1, 0, 2) for part in np.split(inward, 3, axis=1))
        scores = query[:, asked] @ key.transpose(0, 2, 1) + self._future[asked, :m]
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        return (scores @ value).transpose(1, 0, 2).reshape(-1, self.n_factors)


def _normalised(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.einsum("rd,rd->r", centred, centred)[:, None] / np.float32(x.shape[1])
    return centred / np.sqrt(variance + np.float32(EPSILON)) * scale + shift

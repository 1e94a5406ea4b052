"""Maximal marginal relevance: trade relevance against similarity to what is already on the list."""

import numpy as np


def rerank(scores: np.ndarray, factors: np.ndarray, diversity: float, k: int) -> np.ndarray:
    """Choose k of n candidates, one after another, by

        (1 - diversity) * relevance - diversity * largest cosine to an item already chosen

    (Carbonell, Goldstein, SIGIR 1998). Relevance is the score, scaled to 0..1 over the candidates, so that both sides
    are of one size whatever the model's scores are.

    Args:
        scores: (n,) float32.
        factors: (n, f) float32; a row of zeros is similar to nothing.
        diversity: 0 (order of the scores) to 1 (similarity alone, after the best item).
        k: how many to choose.

    Returns:
        (min(k, n),) int64, positions of the chosen ones, in order.
    """
    n = len(scores)
    k = min(k, n)
    order = np.argsort(-scores, kind="stable")
    if diversity == 0 or k == 0:
        return order[:k]
    spread = float(scores.max() - scores.min())
    relevance = (scores - scores.min()) / spread if spread > 0 else np.ones(n, np.float32)
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    unit = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)
    chosen = np.empty(k, np.int64)
    chosen[0] = order[0]
    closest = np.full(n, -1.0, np.float32)
    free = np.ones(n, bool)
    for place in range(1, k):
        last = chosen[place - 1]
        free[last] = False
        np.maximum(closest, unit @ unit[last], out=closest)
        value = np.where(free, (1 - diversity) * relevance - diversity * closest, -np.inf)
        chosen[place] = np.argmax(value)
    return chosen

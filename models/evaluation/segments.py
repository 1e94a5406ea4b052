"""Where a model is good and where it is not: by how much is known of a user, by how frequent an item is, and whether
its scores can be read as chances."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from models.evaluation.contenders import Contender
from models.evaluation.metrics import bootstrap_interval, hits, user_metrics

NEW_USER = 5
"""Events up to which a user counts as new."""
HEAD = 0.5
"""The most frequent items that together hold this share of all pairs of training are the head."""
BINS = 10
_FEWEST_LISTS = 40  # whose scores are compared with what came of them


def user_segments(activity: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (n,) by name: new users, and the others below and above their median; empty ones are left out."""
    new = activity <= NEW_USER
    middle = float(np.median(activity[~new])) if (~new).any() else 0.0
    found = {
        f"new users (up to {NEW_USER} events)": new,
        f"light users (up to {middle:.0f})": ~new & (activity <= middle),
        f"heavy users (more than {middle:.0f})": ~new & (activity > middle),
    }
    return {name: members for name, members in found.items() if members.any()}


def head_items(counts: np.ndarray) -> np.ndarray:
    """(n_items,) bool: the fewest items that hold the share `HEAD` of all pairs."""
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), bool)
    head[order] = before < HEAD * counts.sum()
    return head


def by_segment(arm: Contender, seed: int) -> dict[str, dict[str, float]]:
    """NDCG@10 with its interval by segment; of a segment of items, only these are relevant."""
    found = {name: _interval(arm.metrics.ndcg[members], seed) for name, members in user_segments(arm.activity).items()}
    head = head_items(arm.counts)
    for name, items in (("head items", head), ("tail items", ~head)):
        relevant = sp.csr_matrix(arm.relevant @ sp.diags(items.astype(np.float32)))
        relevant.eliminate_zeros()
        found[name] = _interval(user_metrics(arm.recommended, relevant).ndcg, seed)
    return {name: record for name, record in found.items() if record}


def tail_share(arm: Contender) -> float:
    """Share of what was recommended that is no head item."""
    shown = arm.recommended[arm.recommended >= 0]
    return float((~head_items(arm.counts))[shown].mean()) if len(shown) else float("nan")


def calibration(arm: Contender, seed: int) -> dict[str, Any]:
    """How well a model's scores tell the chance of a hit.

    A ranker's score is no probability, so it is made one first: an isotonic regression on a random half of the lists
    (Zadrozny, Elkan, KDD 2002), compared with what came of the other half, in bins of equal size.

    Returns:
        `predicted` and `observed`, one value a bin, and `error`, the mean distance between them over the items
        recommended; empty where the model has no scores that mean the same for all users, or there is too little.
    """
    if arm.scores is None or len(arm.scores) < _FEWEST_LISTS:
        return {}
    from sklearn.isotonic import IsotonicRegression

    hit = hits(arm.recommended, arm.relevant)
    usable = (arm.recommended >= 0) & np.isfinite(arm.scores)
    first = np.random.default_rng(seed).permutation(len(hit)) % 2 == 0
    learn, test = usable & first[:, None], usable & ~first[:, None]
    if not hit[learn].any() or not test.any():
        return {}
    curve = IsotonicRegression(out_of_bounds="clip").fit(arm.scores[learn].astype(np.float64), hit[learn])
    predicted, observed = curve.predict(arm.scores[test].astype(np.float64)), hit[test].astype(np.float64)
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(BINS, len(predicted)))
    means = [(float(predicted[part].mean()), float(observed[part].mean()), len(part)) for part in parts]
    error = sum(abs(expected - seen) * n for expected, seen, n in means) / len(predicted)
    return {"predicted": [one[0] for one in means], "observed": [one[1] for one in means], "error": float(error)}


def _interval(values: np.ndarray, seed: int) -> dict[str, float]:
    if not np.isfinite(values).any():
        return {}
    found = bootstrap_interval(values, seed)
    return {"mean": found.mean, "low": found.low, "high": found.high, "users": float(found.n)}

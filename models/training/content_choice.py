"""Whether what is written of items says who takes them up, and the map that says it best: measured on items left out.

A fifth of the items with enough events is left out. Maps are fitted on the others, the left-out items get their vectors
from what is written of them alone, and users who took some up, folded in without them, are given the 50 best of the
whole catalogue: how many of those that they took up are among them. So is the estimate by categories measured, which
the model keeps where no map beats it.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.content.content_map import ContentInputs, ContentMap
from models.content.description import content_fields
from models.content.fitting import FEWEST_EVENTS, MOST_ITEMS, RidgeParameters, fit_inputs, fit_ridge
from models.factors.fold_in import FoldIn
from models.retrieval.shelf import estimate_factors
from models.retrieval.whole_catalogue import top_k
from models.training.item_facts import ItemFacts

DEPTH = 50
FEWEST_ITEMS = 25
"""With enough events: of fewer nothing is learned."""
WORD_SCALES = (0.0, 0.3, 1.0)
PULLS = (0.1, 1.0, 10.0, 100.0)
POWERS = (0.5, 1.0)
START = RidgeParameters(pull=10.0, power=1.0, word_scale=0.3)
_LEFT_OUT = 0.2
_MOST_LEFT_OUT = 4_000
_MOST_LEARNED = 50_000  # of the items that the choice is made on
_MOST_RIVALS = 50_000  # known items that new ones must beat, those with the most events: others are in nobody's list
_MOST_USERS = 1_000
_BLOCK = 200  # users scored at once
_CLEAR = 2.0  # standard errors by which a map must beat the categories


@dataclass(frozen=True)
class ContentChoice:
    """The map, or None where the categories stay; what was measured, by name; and a sentence that says it."""

    content: ContentMap | None
    metrics: dict[str, float]
    note: str


@dataclass(frozen=True)
class _Trial:
    """Items left out, and B users who took some of them up.

    Attributes:
        vectors: (B, f) of the users, folded in without the left-out items.
        rivals: (B, DEPTH) scores of the best known items, -inf where there are fewer.
        taken: (B, n_left_out), stored entries were taken up.
    """

    left_out: np.ndarray
    vectors: np.ndarray
    rivals: np.ndarray
    taken: sp.csr_matrix

    def recall(self, estimated: np.ndarray) -> np.ndarray:
        """(B,) recall at `DEPTH` of each user; items without a vector are in no list."""
        found = np.empty(len(self.vectors))
        unknown = ~estimated.any(axis=1)
        for start in range(0, len(found), _BLOCK):
            part = slice(start, start + _BLOCK)
            scores = self.vectors[part] @ estimated.T
            scores[:, unknown] = -np.inf
            best = top_k(np.concatenate([self.rivals[part], scores], axis=1), DEPTH) - DEPTH
            taken = self.taken[part].toarray() > 0
            hits = (best >= 0) & np.take_along_axis(taken, np.maximum(best, 0), axis=1)
            found[part] = hits.sum(axis=1) / taken.sum(axis=1)
        return found


def choose_content(
    catalogue: ItemFacts,
    weights: sp.csr_matrix,
    item_factors: np.ndarray,
    fold_in: FoldIn,
    repeats: bool,
    seed: int,
) -> ContentChoice:
    """Choose and fit the map of a model.

    Args:
        catalogue: what is written of the items, by position in the model.
        weights: (n_users, n_items) what the factors were fitted on.
        item_factors: (n_items, f) float32.
        fold_in: over these factors.
        repeats: whether what a user had may be recommended again.
        seed: says which items and users are looked at.
    """
    if catalogue.described is None:
        return ContentChoice(None, {}, "new items: by their categories, since nothing else is written of them")
    events = np.bincount(weights.indices, minlength=weights.shape[1])
    enough = _most(np.flatnonzero(events >= FEWEST_EVENTS), events, MOST_ITEMS)
    if len(enough) < FEWEST_ITEMS:
        note = (
            f"new items: by their categories, since {len(enough)} items have {FEWEST_EVENTS} events, too few to learn"
        )
        return ContentChoice(None, {}, note)
    generator = np.random.default_rng(seed)
    left_out = generator.choice(enough, min(round(_LEFT_OUT * len(enough)), _MOST_LEFT_OUT), replace=False)
    trial = _trial(np.sort(left_out), weights, events, item_factors, fold_in, repeats, generator)
    if not len(trial.vectors):
        return ContentChoice(None, {}, "new items: by their categories, since no user took up two items")
    described = catalogue.described.items
    learned = _most(np.setdiff1d(enough, trial.left_out), events, _MOST_LEARNED)
    written = [described[place] for place in learned]
    inputs = fit_inputs(written, content_fields(catalogue.described.schema, written), 1.0)
    learned_rows, _ = inputs.rows(written)
    new = [described[place] for place in trial.left_out]
    new_rows, known = inputs.rows(new)
    known_without_words = replace(inputs, word_scale=0.0).rows(new)[1]
    tried: dict[RidgeParameters, np.ndarray] = {}

    def recall(parameters: RidgeParameters) -> float:
        if parameters not in tried:
            scales = _scales(inputs, parameters.word_scale)
            ridge = fit_ridge(learned_rows @ scales, item_factors[learned], events[learned], parameters)
            estimated = ((new_rows @ scales) @ ridge).astype(np.float32)
            estimated[~(known if parameters.word_scale else known_without_words)] = 0.0
            tried[parameters] = trial.recall(estimated)
        return float(tried[parameters].mean())

    with threadpool_limits(1, "blas"):  # the same sums with any number of threads
        best = max((replace(START, word_scale=scale) for scale in WORD_SCALES), key=recall)
        best = max((replace(best, pull=pull) for pull in PULLS), key=recall)
        best = max((replace(best, power=power) for power in POWERS), key=recall)
        by_category = trial.recall(_by_category(catalogue, trial.left_out, item_factors))
        gain = tried[best] - by_category
        metrics = {
            "new_items_content_recall_at_50": float(tried[best].mean()),
            "new_items_category_recall_at_50": float(by_category.mean()),
        }
        measured = (
            f"recall@50 {metrics['new_items_content_recall_at_50']:.4f} by what is written of them, "
            f"{metrics['new_items_category_recall_at_50']:.4f} by their categories "
            f"({len(trial.left_out)} items left out, {len(gain)} users)"
        )
        if gain.mean() <= _CLEAR * gain.std() / np.sqrt(len(gain)):
            return ContentChoice(None, metrics, f"new items: by their categories; {measured}")
        inputs = fit_inputs([described[place] for place in enough], inputs.fields, best.word_scale)
        rows, _ = inputs.rows([described[place] for place in enough])
        content = ContentMap(inputs, fit_ridge(rows, item_factors[enough], events[enough], best))
    return ContentChoice(content, metrics, f"new items: by what is written of them; {measured}")


def _most(items: np.ndarray, events: np.ndarray, most: int) -> np.ndarray:
    """Of the items those with the most events, rising."""
    return np.sort(items[np.argsort(-events[items], kind="stable")[:most]])


def _scales(inputs: ContentInputs, word_scale: float) -> sp.dia_matrix:
    """The diagonal that brings the words of rows with a word scale of 1 to another."""
    scales = np.ones(inputs.width, np.float32)
    first = 1 + len(inputs.keywords)
    scales[first : first + len(inputs.words)] = word_scale
    return sp.diags(scales)


def _trial(
    left_out: np.ndarray,
    weights: sp.csr_matrix,
    events: np.ndarray,
    item_factors: np.ndarray,
    fold_in: FoldIn,
    repeats: bool,
    generator: np.random.Generator,
) -> _Trial:
    place = np.full(weights.shape[1], -1, np.int64)
    place[left_out] = np.arange(len(left_out))
    is_new = place >= 0
    new = np.asarray(weights @ is_new.astype(np.float32)).ravel() > 0
    old = np.asarray(weights @ (~is_new).astype(np.float32)).ravel() > 0
    users = np.flatnonzero(new & old)
    users = np.sort(generator.choice(users, min(_MOST_USERS, len(users)), replace=False))
    histories = [weights.indices[slice(*weights.indptr[user : user + 2])] for user in users.tolist()]
    amounts = [weights.data[slice(*weights.indptr[user : user + 2])] for user in users.tolist()]
    kept = [~is_new[history] for history in histories]
    others = [history[mine] for history, mine in zip(histories, kept, strict=True)]
    vectors, _ = fold_in.solve(others, [amount[mine] for amount, mine in zip(amounts, kept, strict=True)])
    known = _most(np.flatnonzero((events > 0) & ~is_new), events, _MOST_RIVALS)
    column = np.full(len(events), -1, np.int64)
    column[known] = np.arange(len(known))
    rivals = np.full((len(users), DEPTH), -np.inf, np.float32)
    for start in range(0, len(users), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores = vectors[part] @ item_factors[known].T
        for row, history in enumerate(others[part] if not repeats else []):
            had = column[history]
            scores[row, had[had >= 0]] = -np.inf
        best = np.sort(scores, axis=1)[:, ::-1][:, :DEPTH]
        rivals[part, : best.shape[1]] = best
    taken = weights[users][:, left_out].tocsr()
    taken.eliminate_zeros()
    return _Trial(left_out, vectors, rivals, taken)


def _by_category(catalogue: ItemFacts, left_out: np.ndarray, item_factors: np.ndarray) -> np.ndarray:
    """(n_left_out, f): the estimate that the model makes without a map, from the other items of the categories."""
    is_new = np.zeros(len(item_factors), bool)
    is_new[left_out] = True
    categories = {name: members[~is_new[members]] for name, members in catalogue.categories.items()}
    names: dict[int, list[str]] = {}
    for name, members in catalogue.categories.items():
        for item in members[is_new[members]].tolist():
            names.setdefault(item, []).append(name)
    return estimate_factors([names.get(item, []) for item in left_out.tolist()], categories, item_factors)

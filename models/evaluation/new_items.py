"""P6: items held out with all their events, then added with what is written of them alone.

A tenth of the items with at least five events (seed 0) is held out. The model is trained on the events of the others;
the held-out items get their vectors as they do when they are put into the catalogue. Each user who took one up is
folded in from the rest of the history, the whole catalogue is ranked, and what serving would leave out is left out.

`recall` is the share of the new items that a user took up among the best 50. `among_new` is the same where the new
items alone are ranked, at depth 10: it says how well items and users are matched, whatever the height of the scores.
`share` is how much of the lists the new items take.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from configs.event_types import Weighting
from data.matrix import pairs_to_csr
from models.factors.als import AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.retrieval.shelf import estimate_factors
from models.retrieval.whole_catalogue import top_k
from models.training.content_choice import choose_content
from models.training.item_facts import ItemFacts
from models.training.past_requests import excluded_items, rows_by_user
from models.training.training_data import TrainingData

DEPTH = 50
DEPTH_AMONG_NEW = 10
FEWEST_EVENTS = 5
HELD_OUT = 0.1
PRIOR_WEIGHT = 0.5
_BLOCK = 256
Note = Callable[[str], None]
Scores = Callable[[np.ndarray], np.ndarray]
"""Rows of users (b,) -> (b, n_items) scores, -inf for items that are not offered."""


@dataclass(frozen=True)
class NewItemsArm:
    """One way to rank the whole catalogue.

    Attributes:
        recall: (n_users,) of the new items that each took up, among the best `DEPTH` of all.
        among_new: (n_users,) the same among the best `DEPTH_AMONG_NEW` of the new items.
        share: of the new items among the best `DEPTH`.
    """

    name: str
    recall: np.ndarray
    among_new: np.ndarray
    share: float


@dataclass(frozen=True)
class _Case:
    data: TrainingData
    catalogue: ItemFacts
    weighting: Weighting
    new: np.ndarray
    weights: sp.csr_matrix
    item_factors: np.ndarray
    fold_in: FoldIn
    users: np.ndarray
    vectors: np.ndarray
    taken: sp.csr_matrix
    seen: sp.csr_matrix


def new_items(
    data: TrainingData,
    catalogue: ItemFacts,
    weighting: Weighting,
    parameters: AlsParameters,
    note: Note,
    seed: int = 0,
    threads: int = 0,
) -> list[NewItemsArm]:
    """The arms of P6: what is written of the items, their categories, popularity within them, newest, random.

    Args:
        data: in store order.
        catalogue: what is known of its items.
        note: is told how many users and items there are, and what the model chose.

    Raises:
        ValueError: no user took up a new item and has another event, or nothing is left to train on.
    """
    case = _case(data, catalogue, weighting, parameters, seed, threads)
    note(
        f"P6: {len(case.new)} new items, {case.taken.nnz:,} times taken up by {len(case.users)} users; "
        f"{int((case.weights.getnnz(axis=0) > 0).sum()):,} known items"
    )
    repeats = not data.types.seen_codes[np.unique(data.codes)].any()
    choice = choose_content(_without(catalogue, case.new), case.weights, case.item_factors, case.fold_in, repeats, seed)
    note(f"P6: {choice.note}")
    names = _names(catalogue, case.new)
    by_category = estimate_factors(names, _without(catalogue, case.new).categories, case.item_factors)
    generator = np.random.default_rng(seed)
    drawn = generator.random(case.weights.shape[1])
    newest = np.where(np.isin(np.arange(len(drawn)), case.new), 1.0 + drawn, drawn)
    arms: dict[str, Scores] = {"categories": _by_factors(case, by_category)}
    if choice.content is not None and catalogue.described is not None:
        described = [catalogue.described.items[place] for place in case.new.tolist()]
        arms = {"content": _by_factors(case, choice.content.factors(described)), **arms}
    arms["popular in category"] = _popular_in_category(case, catalogue)
    arms["newest"] = lambda rows: np.tile(newest, (len(rows), 1))
    arms["random"] = lambda rows: np.random.default_rng([seed, int(rows[0])]).random((len(rows), len(drawn)))
    return [_measured(name, case, scores) for name, scores in arms.items()]


def held_out_items(data: TrainingData, seed: int) -> np.ndarray:
    """(m,) int64, rising: the items that are new in P6."""
    enough = np.flatnonzero(np.bincount(data.item, minlength=len(data.items)) >= FEWEST_EVENTS)
    return np.sort(np.random.default_rng(seed).choice(enough, round(HELD_OUT * len(enough)), replace=False))


def _case(
    data: TrainingData,
    catalogue: ItemFacts,
    weighting: Weighting,
    parameters: AlsParameters,
    seed: int,
    threads: int,
) -> _Case:
    shape = (len(data.users), len(data.items))
    new = held_out_items(data, seed)
    is_new = np.zeros(shape[1], bool)
    is_new[new] = True
    train = np.flatnonzero(~is_new[data.item])
    interest = data.rows(train).interest(weighting)
    weights = pairs_to_csr(interest.users, interest.items, interest.weights, *shape)
    factors = fit_als(weights, parameters, seed, threads)
    active = np.diff(weights.indptr) > 0
    fold_in = FoldIn(
        factors.item_factors,
        parameters.regularization,
        parameters.alpha,
        factors.user_factors[active].mean(axis=0),
        PRIOR_WEIGHT,
        parameters.weight_power,
    )
    held_out = data.rows(np.flatnonzero(is_new[data.item])).interest(weighting)
    taken = pairs_to_csr(held_out.users, held_out.items, held_out.weights, *shape)
    taken.eliminate_zeros()
    users = np.flatnonzero((np.diff(taken.indptr) > 0) & active)
    if not len(users):
        raise ValueError("no user took up a new item and has another event")
    edges = [slice(*weights.indptr[user : user + 2]) for user in users.tolist()]
    vectors, _ = fold_in.solve([weights.indices[edge] for edge in edges], [weights.data[edge] for edge in edges])
    rows = rows_by_user(data, train, shape[0])
    seen = excluded_items(data, [rows[user] for user in users.tolist()], weighting)
    return _Case(
        data, catalogue, weighting, new, weights, factors.item_factors, fold_in, users, vectors, taken[users], seen
    )


def _without(catalogue: ItemFacts, new: np.ndarray) -> ItemFacts:
    """The catalogue in whose categories the new items do not stand."""
    categories = {name: np.setdiff1d(members, new) for name, members in catalogue.categories.items()}
    return ItemFacts(catalogue.year, categories, catalogue.attributes, catalogue.described)


def _names(catalogue: ItemFacts, new: np.ndarray) -> list[list[str]]:
    """The categories of each new item."""
    found: dict[int, list[str]] = {item: [] for item in new.tolist()}
    for name, members in catalogue.categories.items():
        for item in np.intersect1d(members, new).tolist():
            found[item].append(name)
    return list(found.values())


def _by_factors(case: _Case, estimated: np.ndarray) -> Scores:
    """By inner products; items without factors, learned or estimated, are not offered."""
    factors = case.item_factors.copy()
    offered = case.weights.getnnz(axis=0) > 0
    factors[case.new], offered[case.new] = estimated, (estimated != 0).any(axis=1)

    def scores(rows: np.ndarray) -> np.ndarray:
        found = case.vectors[rows] @ factors.T
        found[:, ~offered] = -np.inf
        return found

    return scores


def _popular_in_category(case: _Case, catalogue: ItemFacts) -> Scores:
    """How much of a user's history lies in an item's categories, times how many took the item up; of a new item it is
    taken for the mean of the known ones in its category."""
    counts = np.bincount(case.weights.indices, minlength=case.weights.shape[1]).astype(np.float64)
    members = catalogue.memberships
    known = counts > 0
    mean = (members.T @ counts) / np.maximum(members.T @ known.astype(np.float64), 1)
    new = members[case.new]
    counts[case.new] = (new @ mean) / np.maximum(new.getnnz(axis=1), 1)
    history = (case.weights[case.users] > 0).astype(np.float64) @ members
    shares = sp.csr_matrix(history / np.maximum(history.sum(axis=1), 1))
    popular = sp.diags(counts) @ members
    return lambda rows: np.asarray((shares[rows] @ popular.T).todense())


def _measured(name: str, case: _Case, scores: Scores) -> NewItemsArm:
    n = len(case.users)
    recall, among_new, taken_places = np.empty(n), np.empty(n), 0
    is_new = np.zeros(case.weights.shape[1], bool)
    is_new[case.new] = True
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        found = scores(rows)
        left_out = case.seen[rows].tocoo()
        found[left_out.row, left_out.col] = -np.inf
        relevant = case.taken[rows].toarray() > 0
        best = top_k(found, DEPTH)
        taken_places += int((is_new[np.maximum(best, 0)] & (best >= 0)).sum())
        recall[rows] = _recall(best, relevant)
        among_new[rows] = _recall(top_k(found[:, case.new], DEPTH_AMONG_NEW), relevant[:, case.new])
    return NewItemsArm(name, recall, among_new, taken_places / (DEPTH * n))


def _recall(best: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    hits = (best >= 0) & np.take_along_axis(relevant, np.maximum(best, 0), axis=1)
    return np.asarray(hits.sum(axis=1) / relevant.sum(axis=1))

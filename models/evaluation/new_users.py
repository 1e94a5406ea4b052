"""P3: users whom the model has never seen, after k events of theirs."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from data.matrix import pairs_to_csr, pairs_to_mask
from models.evaluation.baselines import history_models, popularity_scores, recommend_histories
from models.evaluation.contenders import MOST_ASKED, Answer, Clock, Contender, K, Note, ProtocolData, pooled
from models.evaluation.metrics import user_metrics
from models.factors.als import AlsParameters, fit_als
from models.factors.fold_in import FoldIn
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores
from models.training.past_requests import rows_by_user

FOLDS = 5
KNOWN = (0, 1, 3, 5, 10, 20)
SHORTEST = 25
_FIRST_RIGHT = 20  # events after this one are relevant, the same for every k
_CHOOSING_AT = 10
_CHOICES = tuple((regularization, alpha) for regularization in (4.0, 16.0, 50.0) for alpha in (2.0, 8.0))


def new_users(bench: ProtocolData, note: Note) -> list[Contender]:
    """P3's arms. Without fixed parameters the first fold chooses them, and is not judged."""
    data, n_users = bench.data, len(bench.data.users)
    generator = np.random.default_rng(bench.seed)
    fold_of = generator.permutation(n_users) % FOLDS
    by_user = rows_by_user(data, np.arange(len(data)), n_users)
    arms: list[Contender] = []
    parameters = bench.fixed["P3"] if bench.fixed is not None else None
    for fold in range(FOLDS):
        held = fold_of[data.user] == fold
        histories = [
            generator.permutation(by_user[user])
            for user in np.flatnonzero(fold_of == fold).tolist()
            if len(by_user[user]) >= SHORTEST
        ]
        if len(histories) > MOST_ASKED // FOLDS:
            histories = histories[: MOST_ASKED // FOLDS]
        if not histories:
            continue
        part = data.rows(np.flatnonzero(~held)).interest(bench.weighting)
        weights = pairs_to_csr(part.users, part.items, part.weights, n_users, len(data.items))
        if not weights.nnz:
            continue
        if parameters is None:
            parameters = _choose(bench, weights, histories, note)
            note(f"P3: fold {fold + 1} of {FOLDS} has chosen the parameters and is not judged")
            continue
        arms += _fold(bench, weights, histories, parameters)
        note(f"P3: fold {fold + 1} of {FOLDS}, {len(histories)} users")
    if not arms:
        note(f"P3: no user has {SHORTEST} events; the protocol asks nobody")
    return pooled(arms)


def _fold(
    bench: ProtocolData,
    weights: sp.csr_matrix,
    histories: Sequence[np.ndarray],
    parameters: AlsParameters,
    ks: Sequence[int] = KNOWN,
    others: bool = True,
) -> list[Contender]:
    """The arms of one fold for each k.

    Args:
        others: whether baselines that read histories are asked too.
    """
    data, n_items = bench.data, weights.shape[1]
    counts = popularity_scores(weights)
    clock = Clock()
    fitted = fit_als(weights, parameters, bench.seed, bench.threads)
    fitting_s = clock()
    prior = fitted.user_factors[np.diff(weights.indptr) > 0].mean(axis=0)
    scorers = {name: (fit(weights), clock()) for name, fit in (history_models(n_items) if others else {}).items()}
    later = [bench.relevant_rows(mine[_FIRST_RIGHT:]) for mine in histories]
    later = [rows[counts[data.item[rows]] > 0] for rows in later]
    relevant = _pairs([data.item[rows] for rows in later], n_items)
    arms: list[Contender] = []
    for k in ks:
        known = [data.item[mine[:k]] for mine in histories]
        seen = _pairs(known, n_items)
        own = [
            data.types.confidence(data.codes[mine[:k]], data.values[mine[:k]], bench.weighting) for mine in histories
        ]
        clock()
        popular = recommend_scores(counts, seen, K, counts > 0)
        answers = {"popularity": Answer(popular, clock())}
        for name, weight in (("plain fold-in", 0.0), ("fold-in with prior", 0.5)):
            solver = FoldIn(fitted.item_factors, parameters.regularization, parameters.alpha, prior, weight)
            vectors, solved = solver.solve(known, own)
            best = recommend_factors(vectors, fitted.item_factors, seen, K, counts > 0)
            # Without any history there is no vector: popularity, as online.
            answers[name] = Answer(np.where(solved[:, None], best, popular), fitting_s + clock())
        for name, (scorer, scorer_s) in scorers.items() if k else ():
            answers[name] = Answer(recommend_histories(scorer, seen, seen, counts > 0), scorer_s + clock())
        size = np.full(len(histories), k)
        arms += [
            Contender(
                f"P3 k={k}", name, answer.items, user_metrics(answer.items, relevant), size, counts, weights.shape[0],
                relevant, answer.cpu_s,
            )
            for name, answer in answers.items()
        ]  # fmt: skip
    return arms


def _choose(bench: ProtocolData, weights: sp.csr_matrix, histories: Sequence[np.ndarray], note: Note) -> AlsParameters:
    """The parameters that do best for users of one fold after ten events."""

    def ndcg(parameters: AlsParameters) -> float:
        arms = _fold(bench, weights, histories, parameters, (_CHOOSING_AT,), others=False)
        values = next(arm for arm in arms if arm.name == "fold-in with prior").metrics.ndcg
        return float(np.nanmean(values)) if np.isfinite(values).any() else -1.0

    points = [AlsParameters(regularization=regularization, alpha=alpha) for regularization, alpha in _CHOICES]
    found = {point: ndcg(point) for point in points}
    best = max(points, key=found.__getitem__)
    note(f"P3: ALS: regularization {best.regularization:g}, alpha {best.alpha:g}, the best of {len(points)} points")
    return best


def _pairs(items: Sequence[np.ndarray], n_items: int) -> sp.csr_matrix:
    rows = np.repeat(np.arange(len(items)), [len(mine) for mine in items])
    return pairs_to_mask(rows, np.concatenate([np.empty(0, np.int64), *items]).astype(np.int64), len(items), n_items)

"""Protocols on data of one kind: P1 the published random split, P2 rolling in time.

They run on any data set; the published numbers, and the fingerprints of the splits, are those of MovieLens 100K.

Each gives arms: recommendations of one model for the same users, judged user by user.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from data.matrix import pairs_to_mask
from data.splits import Split, benchmark_split, rolling_windows, time_order
from models.batch_only.split_training import gain_text, learn_from_splits, rank_lists, side_scores
from models.evaluation.baselines import baselines, left_out_of
from models.evaluation.contenders import (
    MOST_ASKED,
    TRENDING,
    Answer,
    Clock,
    Contender,
    K,
    Note,
    ProtocolData,
    contenders,
    fit_stage,
    pooled,
    sampled,
)
from models.evaluation.served import SEQUENCE, SERVED, fit_sequence_model, sequence_lists, served_answer, served_arms
from models.factors.als import AlsParameters
from models.retrieval.whole_catalogue import recommend_factors
from models.training.first_stage import FirstStage, find_candidates
from models.training.past_requests import (
    Requests,
    excluded_items,
    rows_by_user,
    user_requests,
    window_requests,
)
from models.training.ranker_lists import ranker_rows
from models.training.ranker_windows import RANKER, FittedRanker, learn
from models.training.training_data import TrainingData, places

# Chosen on inner splits of P1's training part (search_space.yaml); 15 iterations, .5 where rated <= 2 ("consumption").
PARAMETERS = AlsParameters(regularization=32.0, alpha=4.0)
MOVIELENS_PARAMETERS = {
    "P1": PARAMETERS,
    "P2": PARAMETERS,
    "P3": AlsParameters(regularization=50.0, alpha=8.0),
    "P4": AlsParameters(regularization=30.0, alpha=4.0),
    "P5": PARAMETERS,
    "P6": PARAMETERS,
    "P7": PARAMETERS,
}
P2_CUTOFFS = (0.6, 0.7, 0.8, 0.9)
P2_LEARNING = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))  # .2 to .8
P2_CONTEXTS = (0, 5, 10)
FEWEST = {5: 10, 10: 15}
_MANY_ROWS = 500_000  # with more, every second of P2's windows is learned from: they overlap by half


def benchmark(bench: ProtocolData, note: Note) -> list[Contender]:
    """P1: the arms on the published random split, over users with something relevant in its test part."""
    given, bench = (
        bench,
        replace(bench, catalogue=replace(bench.catalogue, attributes=None)),
    )  # the batch's stage reads none
    data, shape = bench.data, (len(bench.data.users), len(bench.data.items))
    # The positions of whole numbers are in their order, so that MovieLens is split as published.
    split = benchmark_split(data.items.encode(bench.dataset.interactions["item_id"]))
    train = np.flatnonzero(np.isin(bench.source_row, split.train))
    test = bench.relevant_rows(np.flatnonzero(np.isin(bench.source_row, split.test)))
    parameters = bench.parameters("P1", train, note)
    clock = Clock()
    stage = fit_stage(bench, train, parameters)
    fitting_s = clock()
    seen = excluded_items(data, rows_by_user(data, train, shape[0]), bench.weighting)
    relevant = _not_seen(pairs_to_mask(data.user[test], data.item[test], *shape), seen)
    requests = sampled(user_requests(data, train, relevant), bench.seed)
    users = requests.user
    if not len(users):
        note("P1: nobody has anything relevant in the test part")
        return []
    note(f"P1: {len(users):,} users, {requests.relevant.nnz:,} relevant")
    arms = baselines(stage, requests, sp.csr_matrix(seen[users]), train)
    clock()
    factors = stage.factors
    best = recommend_factors(factors.user_factors[users], factors.item_factors, seen[users], K, stage.known_items)
    scores = np.einsum("uf,ukf->uk", factors.user_factors[users], factors.item_factors[best])
    arms["ALS"] = Answer(best, fitting_s + clock(), scores)
    if bench.ranker:
        # No trending candidates: the held-out ratings are of the same time as the others.
        recipe = bench.recipe(parameters, trending=0)
        fitted = learn_from_splits(data, train, bench.catalogue, recipe, bench.seed, bench.threads)
        if fitted is None:
            note("P1: the ranker wins nothing on an inner split and is left out")
        else:
            note(f"P1: ranker learned from {fitted.lists} lists of inner splits, {gain_text(fitted.gain)} on another")
            side = side_scores(stage, train, recipe, bench.seed, bench.threads)
            candidates = find_candidates(stage, requests, recipe.candidates)
            ranked = rank_lists(stage, side, fitted.ranker, requests, candidates, K)
            arms["ALS + ranker"] = Answer(ranked, fitting_s + clock())
        arms[SERVED] = served_answer(given, train, parameters, users, sp.csr_matrix(seen[users]), note)
    return contenders("P1", arms, requests, stage)


def rolling(bench: ProtocolData, note: Note) -> list[Contender]:
    """P2: warm users and sessions, pooled over the windows."""
    data = bench.data
    # The protocol's order: by (time, user, item).
    data = replace(data, turn=places(time_order(data.times_ms, data.user, data.item)))
    learning = P2_LEARNING[:: 2 if len(data) > _MANY_ROWS else 1]
    cutoffs = (*learning, 0.9)
    windows = dict(zip(cutoffs, rolling_windows(data.times_ms, data.user, data.item, cutoffs), strict=True))
    # What comes before the first judged window chooses the parameters of all.
    parameters = bench.parameters("P2", windows[P2_CUTOFFS[0]].train, note)
    recipe = bench.recipe(parameters)
    stages: dict[float, tuple[FirstStage, float]] = {}
    rows, learning_s = {}, {}
    for cutoff in learning if bench.ranker else ():
        clock = Clock()
        stage = fit_stage(bench, windows[cutoff].train, parameters)
        fitting_s = clock()
        if cutoff in P2_CUTOFFS:
            stages[cutoff] = stage, fitting_s
        requests = _window(data, stage, windows[cutoff], P2_CONTEXTS)
        rows[cutoff] = ranker_rows(stage, requests, find_candidates(stage, requests, recipe.candidates, TRENDING))
        learning_s[cutoff] = fitting_s + clock()
    found: list[Contender] = []
    rounds: int | None = None  # found before the first judged window
    for cutoff in P2_CUTOFFS:
        clock = Clock()
        stage, fitting_s = stages.get(cutoff) or (fit_stage(bench, windows[cutoff].train, parameters), clock())
        fitted: FittedRanker | None = None
        reading: FittedRanker | None = None
        if bench.ranker:
            # A window of width .1 must have closed before the cutoff opens.
            known = [early for early in rows if early + 0.1 <= cutoff + 1e-9]
            earlier = [rows[early] for early in known]
            fitted = learn(earlier, RANKER, bench.seed, 1)
            if used := bench.catalogue.used:
                reading = learn(earlier, RANKER, bench.seed, 1, attributes=used)
            fitting_s += sum(learning_s[early] for early in known if early != cutoff)
            lists = fitted.lists if fitted is not None else 0
            note(f"P2: cutoff {cutoff}: ranker learned from {lists} lists of earlier windows")
        sequence = None
        if bench.sequence is not None:
            sequence = fit_sequence_model(bench, data, windows[cutoff].train, note, rounds)
            rounds = sequence[0].rounds
        for name, context in (("warm", 0), ("session", 10)):
            requests = _window(data, stage, windows[cutoff], (context,), bench.least)
            if not len(requests):
                note(f"P2: cutoff {cutoff}: nobody to ask, {name}")
                continue
            requests.relevant.data[:] = 1.0  # the protocol knows no more and less relevant
            seen = left_out_of(stage, requests)
            arms = baselines(stage, requests, seen, windows[cutoff].train)
            rankers = {"ALS + ranker": fitted, "ALS + ranker with attributes": reading}
            arms |= served_arms(stage, requests, recipe, rankers, fitting_s)
            if sequence is not None:
                arms[SEQUENCE] = sequence_lists(stage, sequence[0], requests, sequence[1])
            found += contenders(f"P2 {name}", arms, requests, stage)
    return pooled(found)


def _window(
    data: TrainingData, stage: FirstStage, split: Split, contexts: tuple[int, ...], least: float = 0.0
) -> Requests:
    known, weighting = stage.known_items, stage.weighting
    return window_requests(
        data, split.train, split.test, contexts, FEWEST, known, weighting, least=least, most=MOST_ASKED
    )


def _not_seen(relevant: sp.csr_matrix, seen: sp.csr_matrix) -> sp.csr_matrix:
    """What is relevant and may be shown: a pair that the training part has too is left out where lists leave it out."""
    kept = sp.csr_matrix(relevant - relevant.multiply(seen))
    kept.eliminate_zeros()
    return kept

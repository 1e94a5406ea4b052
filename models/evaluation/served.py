"""What a retraining on a part of the data would serve.

`served_answer` are everybody's lists at the end of that part, as `jobs.retrain` and `jobs.recommend_all` make them: the
ranker learns from windows of time, and each user is asked about as of the newest event. Events whose times do
not say what came before what are taken in a random order, as where a retraining reads them.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from models.evaluation.baselines import popularity_scores
from models.evaluation.contenders import Answer, Answers, Clock, K, Note, ProtocolData, fit_stage
from models.factors.als import AlsParameters
from models.retrieval.whole_catalogue import recommend_scores
from models.sequence.stage import fit_on_rows, sequence_stage
from models.sequence.training import FittedSequence
from models.training.first_stage import FirstStage, find_candidates
from models.training.past_requests import Past, Requests, in_store_order
from models.training.ranker_judgement import train_second_stage
from models.training.ranker_lists import rank_scores
from models.training.ranker_windows import RANKER, FittedRanker, Recipe
from models.training.training_data import TrainingData, in_random_order

SERVED = "served"
SEQUENCE = "sequence model"


def served_answer(
    bench: ProtocolData,
    train: np.ndarray,
    parameters: AlsParameters,
    users: np.ndarray,
    seen: sp.csr_matrix,
    note: Note,
) -> Answer:
    """The lists of `users` (B,); who has no history that speaks for anything gets what is popular.

    Args:
        train: rows of the bench's data.
        seen: (B, n_items) what is left out of the lists of what is popular.
    """
    clock = Clock()
    if not bench.dataset.meta.time_trusted:
        bench = replace(bench, data=in_random_order(bench.data, bench.seed))
    fitted = served_ranker(bench, train, parameters, note)
    data = in_store_order(bench.data.rows(np.sort(train)))
    recipe, every = bench.recipe(parameters), np.arange(len(data))
    stage = fit_stage(replace(bench, data=data), every, parameters)
    end = np.full(len(users), len(data)), np.full(len(users), float(data.times_ms.max()))
    requests = Past(data).requests(users, *end)
    best = find_candidates(stage, requests, K).items
    if fitted is not None:
        best = ranked_answer(stage, fitted, requests, recipe).items
    popular = recommend_scores(popularity_scores(stage.weights), seen, K, stage.known_items)
    return Answer(np.where(best[:, :1] >= 0, best, popular), clock())


def served_ranker(bench: ProtocolData, train: np.ndarray, parameters: AlsParameters, note: Note) -> FittedRanker | None:
    """The ranker, with its sources and attributes, that a retraining on these rows would serve; None where none."""
    data = in_store_order(bench.data.rows(np.sort(train)))
    try:
        recipe = bench.recipe(parameters)
        second = train_second_stage(data, bench.catalogue, recipe, RANKER, bench.seed, bench.threads)
    except ValueError:
        note("served: no ranker, since nothing before the latest window speaks for any item")
        return None
    lists = f"a ranker of {second.ranker.lists:,} lists" if second.ranker else "no ranker, since none helps"
    note("; ".join(part for part in (f"served: {lists}", second.sources_note, second.attributes_note) if part))
    return second.ranker


def served_arms(
    stage: FirstStage,
    requests: Requests,
    recipe: Recipe,
    rankers: dict[str, FittedRanker | None],
    fitting_s: float = 0.0,
    name: str = "ALS",
) -> Answers:
    """The first stage alone, under `name`, and with each ranker that there is, as they are served.

    Args:
        fitting_s: processor time that went into them before.
    """
    clock = Clock()
    found = find_candidates(stage, requests, K)
    arms = {name: Answer(found.items, fitting_s + clock(), found.scores)}
    for ranked, ranker in rankers.items():
        if ranker is not None:
            arms[ranked] = ranked_answer(stage, ranker, requests, recipe, fitting_s)
    return arms


def ranked_answer(
    stage: FirstStage, fitted: FittedRanker, requests: Requests, recipe: Recipe, fitting_s: float = 0.0
) -> Answer:
    """The K candidates that a ranker likes best, with its scores; ties in the order of retrieval."""
    clock = Clock()
    candidates = find_candidates(stage, requests, recipe.candidates, recipe.trending, fitted.more)
    scores = rank_scores(stage, fitted.ranker, requests, candidates)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    best, likes = (np.take_along_axis(values, order, axis=1) for values in (candidates.items, scores))
    short = ((0, 0), (0, K - best.shape[1]))
    best, likes = np.pad(best, short, constant_values=-1), np.pad(likes, short, constant_values=-np.inf)
    return Answer(best, fitting_s + clock(), likes)


def fit_sequence_model(
    bench: ProtocolData, data: TrainingData, train: np.ndarray, note: Note, rounds: int | None = None
) -> tuple[FittedSequence, float]:
    """The sequence model that `jobs.train_sequence` would make of these rows, and its processor time.

    Args:
        data: the events in the order of the protocol; `train` are rows of it.
        rounds: of training; None to find them on users who are held out.
    """
    assert bench.sequence is not None
    clock = Clock()
    how = data, train, bench.weighting, bench.sequence, bench.seed
    if rounds is None:
        rounds = fit_on_rows(*how, note=note).rounds
    fitted = fit_on_rows(*how, rounds)
    cpu_s = clock()
    note(f"{SEQUENCE}: {rounds} rounds of training, {cpu_s:.0f} s of processor time")
    return fitted, cpu_s


def sequence_lists(stage: FirstStage, fitted: FittedSequence, requests: Requests, fitting_s: float) -> Answer:
    """The lists of a sequence model, and the processor time of fit and lists.

    Args:
        stage: of the same rows.
    """
    clock = Clock()
    found = find_candidates(sequence_stage(stage, fitted), requests, K)
    return Answer(found.items, fitting_s + clock(), found.scores)

"""Train on a CSV and write recommendations as a CSV, so that an outside scorer can judge the model.

In: columns user, item and, where there are any, rating and timestamp. Out: user, item, rank.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from configs.event_types import load_event_types
from jobs.batch.interactions_csv import read_user_column
from models.batch_only.split_training import gain_text, learn_from_splits, rank_lists, side_scores
from models.evaluation.baselines import popularity_scores
from models.factors.als import AlsParameters
from models.training.first_stage import find_candidates, fit_first_stage
from models.training.item_facts import frame_facts
from models.training.parameter_grid import choose_parameters
from models.training.past_requests import Requests, in_store_order, user_requests
from models.training.ranker_windows import Recipe
from models.training.training_data import TrainingData, training_data_of

K = 10
CANDIDATES = 100


def read_users(given: str, data: TrainingData) -> list[str]:
    """User ids from a CSV with a column user, in its order, or those of the training data for "all".

    Raises:
        DataError: as `read_interactions`.
    """
    if given == "all":
        return [str(user) for user in data.users.ids.tolist()]
    return read_user_column(Path(given))


def recommend(
    frame: pd.DataFrame,
    users: str,
    parameters: AlsParameters | None,
    ranker: bool,
    seed: int = 0,
    items: pd.DataFrame | None = None,
    factors: int = 64,
    note: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Top 10 for each user, what the user has is left out; an unknown user gets what is popular.

    Args:
        frame: canonical interactions.
        users: "all", or the path of a CSV.
        parameters: None to choose them on inner splits.
        ranker: add the second stage, where it wins on an inner split.
        items: the catalogue, where there is one (see `data.dataset`).
        factors: how many factors to fit where the parameters are chosen here.
        note: is told what is done.

    Raises:
        DataError: too little to learn from.
    """
    types = load_event_types()
    kinds = ["int" if frame[name].str.fullmatch(r"0|-?[1-9]\d*").all() else "str" for name in ("user_id", "item_id")]
    data = in_store_order(training_data_of(frame, types, "csv", (kinds[0], kinds[1]), 0, {}, ""))  # type: ignore[arg-type]
    wanted = read_users(users, data)
    note(f"{len(data):,} interactions of {len(data.users):,} users with {len(data.items):,} items")
    largest = frame["user_id"].value_counts()
    note(f"the largest user, {str(largest.index[0])!r}, holds {int(largest.iloc[0]):,} of them")
    if parameters is None:
        parameters = choose_parameters(data, "consumption", factors, seed, note)
    train = np.arange(len(data))
    catalogue = frame_facts(data.items, items)
    recipe = Recipe("consumption", parameters, 0.5, CANDIDATES, 0)
    fitted = learn_from_splits(data, train, catalogue, recipe, seed) if ranker else None
    if fitted is not None:
        note(f"second stage learned from {fitted.lists:,} lists: {gain_text(fitted.gain)} on an inner split")
    elif ranker:
        note("second stage left out: it wins nothing on an inner split")
    stage = fit_first_stage(data, train, "consumption", parameters, catalogue, seed, 0)
    row_of = data.users.encode(wanted)
    known = np.flatnonzero(row_of >= 0)
    best = np.full((len(wanted), K), -1, np.int64)
    if len(known):
        everybody = user_requests(data, train, sp.csr_matrix(np.ones((len(data.users), 1), np.float32)))
        asked = everybody.some(row_of[known])
        if fitted is None:
            best[known] = find_candidates(stage, asked, K).items
        else:
            side = side_scores(stage, train, recipe, seed, 0)
            best[known] = rank_lists(stage, side, fitted.ranker, asked, find_candidates(stage, asked, CANDIDATES), K)
        best[known] = _filled(best[known], asked, data, popularity_scores(stage.weights))
    popular = np.argsort(-popularity_scores(stage.weights), kind="stable")[:K]
    best[row_of < 0, : len(popular)] = popular
    rows, places = np.nonzero(best >= 0)
    return pd.DataFrame(
        {
            "user": [wanted[row] for row in rows.tolist()],
            "item": data.items.ids[best[rows, places]],
            "rank": places + 1,
        }
    )


def write_recommendations(path: Path, recommendations: pd.DataFrame) -> None:
    """Write the recommendations as CSV; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    recommendations.to_csv(partial, index=False)
    partial.replace(path)


def _filled(best: np.ndarray, requests: Requests, data: TrainingData, popularity: np.ndarray) -> np.ndarray:
    """Lists that the factors left short (users without positive weight) end with what is popular."""
    ranked = np.argsort(-popularity, kind="stable")
    for row in np.flatnonzero((best < 0).any(axis=1)).tolist():
        own = [item for item in best[row].tolist() if item >= 0]
        taken = {*own, *data.item[requests.rows[row]].tolist()}
        more = [item for item in ranked.tolist() if item not in taken and popularity[item] > 0]
        full = [*own, *more][:K]
        best[row] = [*full, *[-1] * (K - len(full))]
    return best

"""Train on a CSV and write recommendations as a CSV, so that an outside scorer can judge the model.

In: columns user, item and, where there are any, rating and timestamp (seconds). Out: user, item, rank.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from configs.event_types import load_event_types
from data.dataset import DataError
from jobs.random_split import learn_from_splits
from jobs.ranker_training import Recipe
from jobs.requests import Requests, in_store_order, user_requests
from jobs.training_data import TrainingData, training_data_from_frame
from jobs.two_stage import find_candidates, fit_first_stage, read_catalogue, rerank
from models.als import AlsParameters
from models.baselines import popularity_scores

K = 10
CANDIDATES = 100


def read_interactions(path: Path) -> pd.DataFrame:
    """The CSV in canonical form (see `data.dataset`). Without ratings every row is a `purchase`; without timestamps
    the order of the rows stands in for time.

    Raises:
        DataError: names file, row (the header is row 1) and column.
    """
    frame = _read(path, ("user", "item"), ("rating", "timestamp"))
    for column in ("rating", "timestamp"):
        if column in frame:
            numbers = pd.to_numeric(frame[column], errors="coerce")
            _refuse(path, column, frame[column], ~np.isfinite(numbers.to_numpy(float)), "is not a number")
            frame[column] = numbers
    if "rating" in frame:
        _refuse(path, "rating", frame["rating"], ~frame["rating"].between(0.5, 5.0).to_numpy(), "is not in 0.5 to 5")
    times = frame["timestamp"] * 1000 if "timestamp" in frame else np.arange(len(frame)) * 1000
    return pd.DataFrame(
        {
            "user_id": frame["user"],
            "item_id": frame["item"],
            "event_type": "rating" if "rating" in frame else "purchase",
            "value": frame["rating"].astype(np.float32) if "rating" in frame else np.float32("nan"),
            "timestamp_ms": np.asarray(times, np.float64).astype(np.int64),
        }
    )


def read_users(given: str, data: TrainingData) -> list[str]:
    """User ids from a CSV with a column user, in its order, or those of the training data for "all".

    Raises:
        DataError: as `read_interactions`.
    """
    if given == "all":
        return [str(user) for user in data.users.ids.tolist()]
    return list(dict.fromkeys(_read(Path(given), ("user",), ())["user"].tolist()))


def recommend(
    frame: pd.DataFrame,
    users: str,
    parameters: AlsParameters,
    ranker: bool,
    seed: int = 0,
    items: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Top 10 for each user, what the user has is left out; an unknown user gets what is popular.

    Args:
        frame: canonical interactions.
        users: "all", or the path of a CSV.
        items: the catalogue, where there is one (see `data.dataset`).

    Raises:
        DataError: too little to learn from.
    """
    types = load_event_types()
    kinds = ["int" if frame[name].str.fullmatch(r"0|-?[1-9]\d*").all() else "str" for name in ("user_id", "item_id")]
    data = in_store_order(training_data_from_frame(frame, types, "csv", (kinds[0], kinds[1]), 0, {}, ""))  # type: ignore[arg-type]
    wanted = read_users(users, data)
    train = np.arange(len(data))
    catalogue = read_catalogue(data, items)
    stage = fit_first_stage(data, train, "consumption", parameters, catalogue, seed, 0)
    everybody = user_requests(data, train, sp.csr_matrix(np.ones((len(data.users), 1), np.float32)))
    row_of = data.users.encode(wanted)
    known = np.flatnonzero(row_of >= 0)
    best = np.full((len(wanted), K), -1, np.int64)
    fitted = None
    if ranker:
        recipe = Recipe("consumption", parameters, 0.5, CANDIDATES, 0)
        fitted = learn_from_splits(data, train, catalogue, recipe)
    if len(known):
        asked = everybody.some(row_of[known])
        candidates = find_candidates(stage, asked, CANDIDATES if fitted else K)
        best[known] = rerank(stage, fitted.ranker, asked, candidates, K) if fitted else candidates.items
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
    """As CSV, whole or not at all."""
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


def _read(path: Path, needed: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: it cannot be read as CSV: {error}") from error
    if missing := [name for name in needed if name not in frame.columns]:
        raise DataError(f"{path}: row 1: there is no column {missing[0]!r}; it has {', '.join(frame.columns)}")
    if frame.empty:
        raise DataError(f"{path}: it has no rows")
    for name in needed:
        _refuse(path, name, frame[name], (frame[name].str.strip() == "").to_numpy(), "is empty")
    return frame[[*needed, *(name for name in optional if name in frame.columns)]].copy()


def _refuse(path: Path, column: str, values: pd.Series, bad: np.ndarray, what: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"{path}: row {row + 2}, column {column!r}: {str(values.iloc[row])!r} {what}")

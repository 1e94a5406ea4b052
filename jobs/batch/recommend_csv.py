"""Train on a CSV and write recommendations as a CSV, so that an outside scorer can judge the model.

In: columns user, item and, where there are any, rating and timestamp. Out: user, item, rank.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from configs.event_types import load_event_types
from data.dataset import DataError
from models.batch_only.split_training import gain_text, learn_from_splits, rank_lists, side_scores
from models.evaluation.baselines import popularity_scores
from models.factors.als import AlsParameters
from models.training.first_stage import find_candidates, fit_first_stage
from models.training.item_facts import frame_facts
from models.training.parameter_grid import choose_parameters
from models.training.past_requests import Requests, in_store_order, user_requests
from models.training.ranker_windows import Recipe
from models.training.training_data import TrainingData, training_data_from_frame

K = 10
CANDIDATES = 100
_LOWEST, _HIGHEST = 0.5, 5.0  # the scale that configs/events.yaml knows ratings on
_MS_FROM = 100_000_000_000  # a timestamp as large as this counts milliseconds: in seconds it would be the year 5138
_COUNTS_ABOVE = 100.0  # values that go beyond this are amounts (plays, purchases), not ratings


def read_interactions(path: Path) -> pd.DataFrame:
    """The CSV in canonical form (see `data.dataset`), one row for each (user, item): the latest.

    Ratings on another scale than 0.5 to 5 are brought to that one; values beyond 100 are amounts, which say that there
    was an interaction and nothing else. Without ratings every row is a `purchase`. Timestamps are seconds or
    milliseconds since the epoch, or dates; without them the order of the rows stands in for time.

    Raises:
        DataError: names file, row (the header is row 1) and column.
    """
    frame = _read(path, ("user", "item"), ("rating", "timestamp"))
    value = _ratings(path, frame["rating"]) if "rating" in frame else None
    times = _times(path, frame["timestamp"]) if "timestamp" in frame else np.arange(len(frame), dtype=np.int64) * 1000
    found = pd.DataFrame(
        {
            "user_id": frame["user"],
            "item_id": frame["item"],
            "event_type": "purchase" if value is None else "rating",
            "value": np.float32("nan") if value is None else value,
            "timestamp_ms": times,
        }
    )
    latest = found.sort_values("timestamp_ms", kind="stable").drop_duplicates(["user_id", "item_id"], keep="last")
    return latest.sort_index().reset_index(drop=True)


def _ratings(path: Path, column: pd.Series) -> np.ndarray | None:
    """(n,) float32 in 0.5 to 5; None where the column does not hold ratings."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
    _refuse(path, "rating", column, ~np.isfinite(numbers), "is not a number")
    low, high = float(numbers.min()), float(numbers.max())
    if high > _COUNTS_ABOVE or low == high:
        return None
    if low < _LOWEST or high > _HIGHEST:
        numbers = _LOWEST + (numbers - low) * (_HIGHEST - _LOWEST) / (high - low)
    return numbers.astype(np.float32)


def _times(path: Path, column: pd.Series) -> np.ndarray:
    """(n,) int64 milliseconds."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if np.isfinite(numbers).any():
        _refuse(path, "timestamp", column, ~np.isfinite(numbers), "is not a number")
        scale = 1 if np.abs(numbers).max() >= _MS_FROM else 1000
        return (numbers * scale).astype(np.int64)
    dates = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    _refuse(path, "timestamp", column, dates.isna().to_numpy(), "is neither a number nor a date like 1998-04-23T12:00")
    return np.asarray(dates.astype("datetime64[ms, UTC]").astype(np.int64), np.int64)


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
    data = in_store_order(training_data_from_frame(frame, types, "csv", (kinds[0], kinds[1]), 0, {}, ""))  # type: ignore[arg-type]
    wanted = read_users(users, data)
    note(f"{len(data):,} interactions of {len(data.users):,} users with {len(data.items):,} items")
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


def _read(path: Path, needed: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: it cannot be read as CSV: {error}") from error
    frame.columns = [str(name).strip().lower() for name in frame.columns]
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

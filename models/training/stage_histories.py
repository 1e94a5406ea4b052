"""Of past requests the histories that a first stage reads: as far as the store keeps them."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.factors.interest import aggregate_interest
from models.ranking.features import latest_distinct
from models.relations.more_sources import LATEST
from models.relations.near_counts import counted
from models.relations.past_events import PastEvents
from models.sequence.histories import sequence_of
from models.training.past_requests import Requests

if TYPE_CHECKING:
    from models.training.first_stage import FirstStage


def request_interest(stage: "FirstStage", requests: Requests) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Items (m,) and weights (m,) of each request's history, as far as the store keeps it and the model knows it; an
    item of weight 0 was met, but says nothing."""
    data = stage.data
    rows = [kept_rows(stage, mine) for mine in requests.rows]
    flat = np.concatenate([np.empty(0, np.int64), *rows])
    number = np.repeat(np.arange(len(rows)), [len(mine) for mine in rows])
    known = stage.in_model[data.item[flat]]
    flat, number = flat[known], number[known]
    found = aggregate_interest(
        number,
        data.item[flat],
        data.times_ms[flat],
        data.codes[flat],
        data.values[flat],
        data.types,
        stage.weighting,
    )
    edges = np.searchsorted(found.users, np.arange(len(rows) + 1)).tolist()
    parts = [slice(*ends) for ends in pairwise(edges)]
    return [found.items[part] for part in parts], [found.weights[part] for part in parts]


def request_vectors(
    stage: "FirstStage", requests: Requests, items: list[np.ndarray], weights: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (B, f) float32 of the requests' users, and known (B,) bool: False where the history says nothing.

    Args:
        items, weights: those of `request_interest`.
    """
    if stage.sequence is None:
        assert stage.fold_in is not None
        return stage.fold_in.solve(items, weights)
    length, sequences = stage.sequence.length, []
    for rows, mine, weight in zip(requests.rows, items, weights, strict=True):
        sequences.append(sequence_of(stage.data.item[kept_rows(stage, rows)], mine[weight > 0], length))
    return stage.sequence.encode(sequences)


def kept_rows(stage: "FirstStage", rows: np.ndarray) -> np.ndarray:
    """Of a history's rows those that the store keeps for the model: the latest."""
    return rows[-stage.history_limit :]


def past_events(stage: "FirstStage", rows: np.ndarray) -> PastEvents:
    """What the user of a history had before, as far as the store keeps it and the model knows it.

    Args:
        rows: of the history, in store order.
    """
    data, rows = stage.data, kept_rows(stage, rows)
    amounts = data.types.confidence(data.codes[rows], data.values[rows], "preference").astype(np.float64)
    kept = (amounts > 0) & stage.in_model[data.item[rows]]
    return PastEvents(data.item[rows][kept], amounts[kept], data.times_ms[rows][kept].astype(np.float64))


def near_recent(stage: "FirstStage", requests: Requests) -> np.ndarray:
    """(B, LATEST) int64: the latest distinct items of events that near relations count, those that the model does not
    know among them, the latest first, -1 padded."""
    data, found = stage.data, np.full((len(requests), LATEST), -1, np.int64)
    counts = counted(data.types, data.codes, data.values)
    for place, rows in enumerate(requests.rows):
        mine = kept_rows(stage, rows)
        found[place] = latest_distinct(data.item[mine[counts[mine]]], LATEST)
    return found

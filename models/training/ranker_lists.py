"""Lists for the ranker from past requests: the features of their candidates, and the order that a ranker gives them.

The same features as in serving, computed from rows of a `TrainingData` instead of the online store.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from configs.decay import REFUSAL_AFFINITY
from models.ranking.features import (
    CANDIDATE_FEATURES,
    FEATURES,
    RequestBatch,
    assemble,
    candidate_features,
    latest_distinct,
    user_features,
)
from models.ranking.point_in_time import activity, category_affinity
from models.ranking.ranker import Ranker
from models.training.first_stage import CandidateTable, FirstStage, popularity_walk, request_interest
from models.training.past_requests import Requests

_BLOCK = 256  # requests whose features are computed at once


def request_features(
    stage: FirstStage, requests: Requests, candidates: CandidateTable
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Features block by block: (which requests, (N, len(FEATURES)) float32, lengths of the lists)."""
    data = stage.data
    preference = data.types.confidence(data.codes, data.values, "preference")
    refused = data.types.is_refusal(data.codes, data.values)
    popularity_of = popularity_walk(stage, requests)
    shares = np.empty((2, *candidates.items.shape), np.float32)
    for place in np.argsort(requests.visible, kind="stable").tolist():
        row = np.maximum(candidates.items[place], 0)
        shares[:, place] = popularity_of.after(int(requests.visible[place]))[:, row]
    amounts = np.where(refused, REFUSAL_AFFINITY, preference)
    for start in range(0, len(requests), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(requests)))
        rows = requests.rows[part]
        at_ms = requests.at_ms[part]
        own, weights = request_interest(stage, replace(requests, rows=rows))
        recent = np.stack(
            [
                latest_distinct(data.item[mine], among=items[weight > 0])
                for mine, items, weight in zip(rows, own, weights, strict=True)
            ]
        )
        times = [data.times_ms[mine].astype(np.float64) for mine in rows]
        affinity = np.stack(
            [
                category_affinity(amounts[mine], time, stage.memberships[data.item[mine]], at)
                for mine, time, at in zip(rows, times, at_ms.tolist(), strict=True)
            ]
        ).astype(np.float32)
        batch = RequestBatch(
            candidates=candidates.items[part],
            scores=candidates.scores[part],
            recent=recent,
            histories=[items[weight > 0] for items, weight in zip(own, weights, strict=True)],
            at_ms=at_ms,
            affinity=affinity,
            popularity=shares[:, part],
        )
        block = candidate_features(stage.table, stage.relations, batch)
        present = batch.candidates >= 0
        users = user_features(
            np.array([len(mine) for mine in rows]),
            np.stack([activity(time, at) for time, at in zip(times, at_ms.tolist(), strict=True)]),
            np.array([time[-1] if len(time) else np.nan for time in times]),
            at_ms,
            requests.devices[part] if requests.devices is not None else [None] * len(rows),
        )
        lengths = present.sum(axis=1)
        yield part, assemble(block[present].reshape(-1, len(CANDIDATE_FEATURES)), users, lengths), lengths


def rank_scores(stage: FirstStage, ranker: Ranker, requests: Requests, candidates: CandidateTable) -> np.ndarray:
    """(B, k) float32: the ranker's score of each candidate, -inf in the padding."""
    scores = np.full(candidates.items.shape, -np.inf, np.float32)
    for part, features, _ in request_features(stage, requests, candidates):
        scores[part][candidates.items[part] >= 0] = ranker.score(features)
    return scores


def rerank(stage: FirstStage, ranker: Ranker, requests: Requests, candidates: CandidateTable, k: int) -> np.ndarray:
    """(B, k) int64: the k candidates that the ranker likes best, -1 padded; ties in the order of retrieval."""
    scores = rank_scores(stage, ranker, requests, candidates)
    best = np.take_along_axis(candidates.items, np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
    return np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=-1)


@dataclass(frozen=True)
class RankerRows:
    """Training rows: features (n, len(FEATURES)) float32, relevant (n,) bool, lengths (lists,).

    Rows of lists that were shown also have the place of each item, (n,) int from 0, and how much it counts, (n,)
    float64.
    """

    features: np.ndarray
    relevant: np.ndarray
    lengths: np.ndarray
    place: np.ndarray | None = None
    weights: np.ndarray | None = None


def ranker_rows(stage: FirstStage, requests: Requests, candidates: CandidateTable) -> RankerRows:
    """Lists that hold something relevant; the others teach nothing."""
    n_items = len(stage.known_items)
    truth = requests.relevant
    wanted = np.repeat(np.arange(len(requests), dtype=np.int64), np.diff(truth.indptr)) * n_items + truth.indices
    offered = np.arange(len(requests), dtype=np.int64)[:, None] * n_items + candidates.items
    hit = np.isin(offered, wanted) & (candidates.items >= 0)
    useful = np.flatnonzero(hit.any(axis=1) & ~(hit == (candidates.items >= 0)).all(axis=1))
    hit, items = hit[useful], candidates.items[useful]
    kept = CandidateTable(items, candidates.scores[useful])
    parts = [features for _, features, _ in request_features(stage, requests.some(useful), kept)]
    features = np.concatenate([np.empty((0, len(FEATURES)), np.float32), *parts])
    return RankerRows(features, hit[items >= 0], (items >= 0).sum(axis=1))

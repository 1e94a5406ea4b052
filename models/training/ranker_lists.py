"""Lists for the ranker from past requests: the features of their candidates, and the order that a ranker gives them.

The same features as in serving, computed from rows of a `TrainingData` instead of the online store.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from configs.decay import REFUSAL_AFFINITY
from models.ranking.features import (
    RequestBatch,
    assemble,
    candidate_features,
    latest_distinct,
    user_features,
)
from models.ranking.point_in_time import activity, affinity_amounts, category_affinities
from models.ranking.ranker import Ranker
from models.relations.near_lists import NEAR_FEATURES, near_features
from models.training.event_walks import popularity_walk
from models.training.first_stage import CandidateTable, FirstStage
from models.training.past_requests import Requests
from models.training.stage_histories import kept_rows, near_recent, past_events, request_interest

_BLOCK = 256  # requests whose features are computed at once


def request_features(
    stage: FirstStage, requests: Requests, candidates: CandidateTable
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Features block by block: (which requests, (N, stage.n_features) float32, lengths of the lists)."""
    data = stage.data
    preference = data.types.confidence(data.codes, data.values, "preference")
    refused = data.types.is_refusal(data.codes, data.values)
    popularity_of = popularity_walk(stage, requests)
    shares = np.empty((2, *candidates.items.shape), np.float32)
    for place in np.argsort(requests.visible, kind="stable").tolist():
        row = np.maximum(candidates.items[place], 0)
        popularity_of.advance(int(requests.visible[place]))
        shares[:, place] = popularity_of.shares(row)
    near = _near(stage, requests, candidates) if candidates.near else None
    amounts = np.where(refused, REFUSAL_AFFINITY, preference)
    for start in range(0, len(requests), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(requests)))
        rows = requests.rows[part]
        kept = [kept_rows(stage, mine) for mine in rows]
        at_ms = requests.at_ms[part]
        own, weights = request_interest(stage, replace(requests, rows=rows))
        recent = np.stack(
            [
                latest_distinct(data.item[mine], among=items[weight > 0])
                for mine, items, weight in zip(kept, own, weights, strict=True)
            ]
        )
        times = [data.times_ms[mine].astype(np.float64) for mine in rows]
        flat = np.concatenate(rows)
        lengths = np.array([len(mine) for mine in rows])
        affinity = category_affinities(
            amounts[flat], np.concatenate(times), stage.memberships[data.item[flat]], lengths, at_ms
        ).astype(np.float32)
        batch = RequestBatch(
            candidates=candidates.items[part],
            scores=candidates.scores[part],
            recent=recent,
            histories=[items[weight > 0] for items, weight in zip(own, weights, strict=True)],
            at_ms=at_ms,
            affinity=affinity,
            popularity=shares[:, part],
            events=[data.item[mine] for mine in kept],
            amounts=[
                affinity_amounts(amounts[mine], data.times_ms[mine], at)
                for mine, at in zip(kept, at_ms.tolist(), strict=True)
            ],
            users=None if stage.user_values is None else stage.user_values[requests.user[part]],
            past=[past_events(stage, mine) for mine in rows] if stage.repeats else (),
            near=None if near is None else near[part],
        )
        block = candidate_features(stage.table, stage.relations, batch)
        present = batch.candidates >= 0
        users = user_features(
            np.array([len(mine) for mine in kept]),
            np.stack([activity(time, at) for time, at in zip(times, at_ms.tolist(), strict=True)]),
            np.array([time[-1] if len(time) else np.nan for time in times]),
            at_ms,
            requests.devices[part] if requests.devices is not None else [None] * len(rows),
        )
        lengths = present.sum(axis=1)
        yield part, assemble(block[present], users, lengths), lengths


def _near(stage: FirstStage, requests: Requests, candidates: CandidateTable) -> np.ndarray:
    walk, recent = stage.near.walk(requests), near_recent(stage, requests)
    found = np.empty((*candidates.items.shape, len(NEAR_FEATURES)), np.float32)
    for place in np.argsort(requests.visible, kind="stable").tolist():
        counts, one = walk.advance(int(requests.visible[place])), slice(place, place + 1)
        found[one] = near_features(counts, recent[one], candidates.items[one])
    return found


def rank_scores(stage: FirstStage, ranker: Ranker, requests: Requests, candidates: CandidateTable) -> np.ndarray:
    """(B, k) float32: the ranker's score of each candidate, -inf in the padding."""
    scores = np.full(candidates.items.shape, -np.inf, np.float32)
    for part, features, _ in request_features(stage, requests, candidates):
        scores[part][candidates.items[part] >= 0] = ranker.score(features[:, : len(ranker.features)])
    return scores


def rerank(stage: FirstStage, ranker: Ranker, requests: Requests, candidates: CandidateTable, k: int) -> np.ndarray:
    """(B, k) int64: the k candidates that the ranker likes best, -1 padded; ties in the order of retrieval."""
    scores = rank_scores(stage, ranker, requests, candidates)
    best = np.take_along_axis(candidates.items, np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
    return np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=-1)


@dataclass(frozen=True)
class RankerRows:
    """Training rows: features (n, `FirstStage.n_features`) float32, gains (n,) float32 >= 0, lengths (lists,).

    A gain says how right a candidate was; 0 is wrong. Rows of lists that were shown also have the place of each item,
    (n,) int from 0, and how much it counts, (n,) float64.
    """

    features: np.ndarray
    gains: np.ndarray
    lengths: np.ndarray
    place: np.ndarray | None = None
    weights: np.ndarray | None = None

    def only(self, n_features: int) -> "RankerRows":
        """The rows with their first so many features, the others let go of."""
        if n_features == self.features.shape[1]:
            return self
        return replace(self, features=self.features[:, :n_features].copy())


def ranker_rows(
    stage: FirstStage, requests: Requests, candidates: CandidateTable, longest: int | None = None, seed: int = 0
) -> RankerRows:
    """Lists that hold something relevant and something else; the others teach nothing.

    Args:
        longest: lists are cut to so many candidates: all that is relevant, and a random choice of the rest. Most of a
            list teaches the same thing, and the time that trees take grows with every row. None to cut nothing.
        seed: seeds that choice.
    """
    gains = candidate_gains(candidates, requests)
    present = candidates.items >= 0
    hit = gains > 0
    useful = np.flatnonzero(hit.any(axis=1) & ~(hit == present).all(axis=1))
    kept = replace(candidates, items=candidates.items[useful], scores=candidates.scores[useful])
    chosen = present[useful]
    if longest is not None:
        chance = np.random.default_rng(seed).random(chosen.shape)
        chance = np.where(hit[useful], -1.0, np.where(chosen, chance, 2.0))
        first = np.argsort(np.argsort(chance, axis=1, kind="stable"), axis=1, kind="stable")
        chosen = chosen & (first < longest)
    parts = [np.empty((0, stage.n_features), np.float32)]
    for part, features, _ in request_features(stage, requests.some(useful), kept):
        parts.append(features[chosen[part][present[useful][part]]])
    return RankerRows(np.concatenate(parts), gains[useful][chosen], chosen.sum(axis=1))


def candidate_gains(candidates: CandidateTable, requests: Requests) -> np.ndarray:
    """(B, k) float32: how relevant each candidate is to its request; 0 where it is not, and in the padding."""
    rows = np.arange(len(requests))[:, None]
    gains = np.asarray(requests.relevant[rows, np.maximum(candidates.items, 0)].todense(), np.float32)
    return np.where(candidates.items >= 0, gains, np.float32(0.0))

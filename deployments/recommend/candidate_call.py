"""The call from `Ranking` to `Retrieval`: candidates of one slot's model with its learned scores, for a micro-batch."""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS
from configs.settings import Serving
from deployments.http.errors import ApiError
from deployments.http.schemas import RecommendRequest, id_text
from deployments.recommend.messages import Answer, Question, Reply
from deployments.recommend.micro_batch import MicroBatcher
from deployments.recommend.ranker_features import NO_AFFINITIES, Affinities
from features.redis.errors import StoreError
from features.serving.slots import Slot
from features.users.user_features import UserFeatures
from models.bundle.arrays import BundleError
from models.bundle.reading import read_ranker
from models.ranking.features import user_features
from models.ranking.ranker import Ranker

logger = logging.getLogger("ray.serve")
RANKERS_KEPT = 4
"""A replica of retrieval may answer with the version before for as long as it loads the new one."""
_HALF_LIVES = np.array(list(ACTIVITY_HALF_LIVES_MS.values()), np.float64)
_NO_ACTIVITY = struct.pack("<dddd", 0.0, 0.0, 0.0, 0.0)
AskRetrieval = Callable[[list[Question]], Awaitable[Reply]]


class Found(NamedTuple):
    """The candidates of one request.

    Attributes:
        reply: what they share with their micro-batch: version, types of ids, catalogue.
        learned: the ranker's scores of the first `answer.folded` candidates, float32; None where the version has no
            ranker.
    """

    reply: Reply
    answer: Answer
    learned: np.ndarray | None


class _Asked(NamedTuple):
    """A question to retrieval, with what the ranker needs beside the candidates."""

    question: Question
    features: UserFeatures | None
    context: dict[str, object] | None


class CandidateCall:
    """Asks the slots' `Retrieval` deployments. Requests that wait at the same time share one call, and one scoring.

    Args:
        retrieval: slot -> function that asks the slot's deployment for a batch.
        serving: how many candidates are asked for.
    """

    def __init__(self, retrieval: Mapping[str, AskRetrieval], serving: Serving) -> None:
        self._serving = serving
        self._rankers: dict[str, Ranker | None] = {}  # version -> its ranker; None where it has none
        self._batchers = {
            slot: MicroBatcher[_Asked, Found | None](self._batched(ask), concurrency=2)
            for slot, ask in retrieval.items()
        }

    async def find(self, slot: str, request: RecommendRequest, user_id: str, features: UserFeatures | None) -> Found:
        """The candidates of a slot's model for one request.

        Args:
            features: the user's, None while the store does not answer.

        Raises:
            ApiError: 503, the slot's retrieval does not answer or holds no usable model.
        """
        asked = _Asked(self._question(request, user_id, features), features, request.context)
        try:
            found = await self._batchers[slot].ask(asked)
        except StoreError:
            raise
        except Exception as error:
            logger.exception("retrieval of slot %s failed", slot)
            raise ApiError(503, "model_unavailable", f"no model answers: {error}", retry_after_s=1) from error
        if found is None:
            raise ApiError(503, "model_unavailable", f"the slot {slot} holds no usable model", retry_after_s=1)
        return found

    async def follow(self, slots: Mapping[str, Slot]) -> None:
        """Load the rankers of what the slots point at, before retrieval answers with it; forget the oldest others."""
        for slot in slots.values():
            try:
                await self.ranker(slot.version, slot.path)
            except BundleError as error:
                # Retrieval refuses such a bundle as well and says so in its report; the version before serves on.
                logger.error("the ranker of %s cannot be used: %s", slot.version, error)
        serving = {slot.version for slot in slots.values()}
        for version in list(self._rankers)[:-RANKERS_KEPT]:
            if version not in serving:
                del self._rankers[version]

    async def ranker(self, version: str, bundle: Path) -> Ranker | None:
        """The ranker of a version, None where it has none. Raises `BundleError`."""
        if version not in self._rankers:
            self._rankers[version] = await asyncio.to_thread(read_ranker, bundle)
        return self._rankers[version]

    def _question(self, request: RecommendRequest, user_id: str, features: UserFeatures | None) -> Question:
        include = request.filters.include_categories
        return Question(
            user_id=user_id.encode(),
            history=features.history if features else None,
            older_seen=features.older_seen if features else None,
            n=max(request.top_k, self._serving.candidates),
            exclude_seen=request.exclude_seen,
            exclude_items=tuple(id_text(item).encode() for item in request.filters.exclude_items),
            include_categories=None if include is None else tuple(include),
            exclude_categories=tuple(request.filters.exclude_categories),
            affinities=affinities_of(features) if features else NO_AFFINITIES,
            with_factors=request.diversity > 0,
            with_reasons=request.explain,
        )

    def _batched(self, ask: AskRetrieval) -> Callable[[list[_Asked]], Awaitable[Sequence[Found | None]]]:
        async def call(asked: list[_Asked]) -> Sequence[Found | None]:
            reply = await ask([one.question for one in asked])
            if reply.version is None:
                return [None] * len(asked)
            # The ranker is that of the version which answered, and there already, unless the slot has just moved.
            ranker = await self.ranker(reply.version, Path(reply.bundle)) if reply.bundle else None
            if ranker is None:
                return [Found(reply, answer, None) for answer in reply.answers]
            learned = score_candidates(ranker, reply, [one.features for one in asked], [one.context for one in asked])
            return [Found(reply, *pair) for pair in zip(reply.answers, learned, strict=True)]

        return call


def score_candidates(
    ranker: Ranker, reply: Reply, users: Sequence[UserFeatures | None], contexts: Sequence[dict[str, Any] | None]
) -> list[np.ndarray]:
    """For each answer of `reply` the ranker's scores of its first `folded` candidates, float32, larger is better.

    Args:
        ranker: the ranker of the version that made the reply.
        users: the features of the answers' users; None only where nothing is `folded`.
        contexts: the contexts of the requests, of which `device` is a feature.
    """
    lengths = np.array([answer.folded for answer in reply.answers])
    if not lengths.any():
        return [np.empty(0, np.float32)] * len(reply.answers)
    return np.split(ranker.score_lists(*ranker_input(ranker, reply, users, contexts)), np.cumsum(lengths)[:-1])


def ranker_input(
    ranker: Ranker, reply: Reply, users: Sequence[UserFeatures | None], contexts: Sequence[dict[str, Any] | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `Ranker.score_lists` takes: of the answers with `folded` candidates the block of these, what is read of
    their users, and how many candidates each has.

    Args:
        ranker, reply, users, contexts: as in `score_candidates`.

    Raises:
        ValueError: the reply has other columns than the ranker reads.
    """
    lengths = np.array([answer.folded for answer in reply.answers])
    rows = np.flatnonzero(lengths)
    block, shape = np.frombuffer(reply.features, np.float32), (int(lengths.sum()), len(ranker.block_features))
    if block.size != shape[0] * shape[1]:
        raise ValueError(f"retrieval sent {block.size} features of {shape[0]} candidates, the ranker reads {shape[1]}")
    known = [user for row in rows.tolist() if (user := users[row]) is not None]
    devices = [_device(contexts[row]) for row in rows.tolist()]
    of_users = _user_block(known, devices, reply.at_ms)
    return block.reshape(shape), of_users[:, ranker.user_columns], lengths[rows]


def affinities_of(features: UserFeatures) -> Affinities:
    """The user's category affinities, packed as the store holds them."""
    pairs = [(field[2:], packed) for field, packed in features.fields.items() if field.startswith(b"c:")]
    return Affinities(tuple([name for name, _ in pairs]), b"".join([packed for _, packed in pairs]))


def _user_block(users: Sequence[UserFeatures], devices: Sequence[str | None], at_ms: float) -> np.ndarray:
    """(B, len(USER_FEATURES)) float32."""
    packed = np.frombuffer(b"".join([user.fields.get(b"act", _NO_ACTIVITY) for user in users]), "<f8").reshape(-1, 4)
    activity = packed[:, 1:] * np.exp2((packed[:, :1] - at_ms) / _HALF_LIVES)
    return user_features(
        np.array([int.from_bytes(user.history[:4], "little") if user.history else 0 for user in users]),
        activity,
        np.array([np.nan if user.last_ms is None else user.last_ms for user in users], np.float64),
        np.full(len(users), at_ms),
        devices,
    )


def _device(context: dict[str, Any] | None) -> str | None:
    device = context.get("device") if context else None
    return device if isinstance(device, str) else None

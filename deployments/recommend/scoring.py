"""The learned ranker's part in `Ranking`: scores for the candidates of a whole micro-batch."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS
from deployments.recommend.messages import Reply
from deployments.recommend.ranker_features import Affinities
from features.users.user_features import UserFeatures
from models.ranking.features import CANDIDATE_FEATURES, assemble, user_features
from models.ranking.ranker import Ranker

_HALF_LIVES = np.array(list(ACTIVITY_HALF_LIVES_MS.values()), np.float64)
_NO_ACTIVITY = struct.pack("<dddd", 0.0, 0.0, 0.0, 0.0)


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
    rows = np.flatnonzero(lengths)
    if not len(rows):
        return [np.empty(0, np.float32)] * len(reply.answers)
    block = np.frombuffer(reply.features, np.float32).reshape(-1, len(CANDIDATE_FEATURES))
    known = [user for row in rows.tolist() if (user := users[row]) is not None]
    devices = [_device(contexts[row]) for row in rows.tolist()]
    features = assemble(block, _user_block(known, devices, reply.at_ms), lengths[rows])
    return np.split(ranker.score(features), np.cumsum(lengths)[:-1])


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

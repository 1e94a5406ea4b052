"""Sequences with a known answer: after item n comes item n + 1."""

from dataclasses import replace

import numpy as np

from models.bundle.arrays import BundleContents
from models.bundle.manifest import ManifestFields, SequenceFacts
from models.sequence.histories import UserSequences
from models.sequence.parameters import SequenceParameters
from models.sequence.weights import SequenceNetwork, shapes
from tests.models.bundle.small_bundle import contents, fields

SMALL = SequenceParameters(
    dimensions=8,
    blocks=2,
    heads=2,
    length=8,
    dropout=0.0,
    learning_rate=0.01,
    tokens=64,
    steps=60,
    rounds=2,
    patience=2,
)


def chains(n_users: int, n_items: int, length: int = 9, seed: int = 0) -> UserSequences:
    starts = np.random.default_rng(seed).integers(n_items, size=n_users)
    items = (starts[:, None] + np.arange(length)) % n_items
    return UserSequences(items.ravel().astype(np.int32), np.arange(n_users + 1, dtype=np.int64) * length)


def drawn_weights(
    n_items: int, parameters: SequenceParameters, seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Item factors and weights without any meaning, none of them zero."""
    generator = np.random.default_rng(seed)
    all_shapes = shapes(parameters.length, parameters.dimensions, parameters.blocks)
    weights = {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in all_shapes.items()}
    return generator.normal(0, 0.5, (n_items, parameters.dimensions)).astype(np.float32), weights


def sequence_contents(seed: int = 0) -> BundleContents:
    """The small bundle's items and users with a network without any meaning."""
    factors, weights = drawn_weights(20, SMALL, seed)
    users = np.random.default_rng(seed).normal(size=(30, SMALL.dimensions)).astype(np.float32)
    return replace(
        contents(),
        item_factors=factors,
        user_factors=users,
        mean_user=users.mean(axis=0),
        sequence=SequenceNetwork(weights, SMALL.heads),
    )


def sequence_fields(seed: int = 0) -> ManifestFields:
    return fields(parameters=None, sequence=SequenceFacts(parameters=SMALL, rounds=2), seed=seed)

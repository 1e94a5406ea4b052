"""From a fitted sequence model to a bundle."""

from pathlib import Path

import numpy as np

from configs.settings import Settings
from models.bundle.arrays import BundleContents
from models.bundle.manifest import DataFacts, IndexFacts, ManifestFields, SequenceFacts
from models.bundle.writing import write_bundle
from models.retrieval.index import ItemIndex
from models.sequence.stage import training_sequences
from models.sequence.training import FittedSequence
from models.sequence.weights import SequenceNetwork
from models.training.training_data import TrainingData

_INDEX_SAMPLE = 200


def write_sequence_bundle(
    data: TrainingData, settings: Settings, fitted: FittedSequence, seed: int, metrics: dict[str, float]
) -> Path:
    """Write the bundle of a model that was fitted on all of the data. Returns the directory of the new version."""
    weighting, every = settings.training.weighting, np.arange(len(data))
    encoder = fitted.encoder()
    sequences = training_sequences(data, every, weighting)
    latest = [
        sequences.items[max(start, end - encoder.length) : end]
        for start, end in zip(sequences.starts[:-1].tolist(), sequences.starts[1:].tolist(), strict=True)
    ]
    user_factors, known = encoder.encode(latest)
    mean_user = user_factors[known].mean(axis=0)
    # Of a user without a sequence nothing is known: zeros would give every item the same score.
    user_factors[~known] = mean_user
    interest = data.interest(weighting)
    last_ms = np.zeros(len(data.items), np.int64)
    np.maximum.at(last_ms, data.item, data.times_ms)
    active = np.flatnonzero(known)
    sample = np.random.default_rng(seed).choice(active, min(_INDEX_SAMPLE, len(active)), replace=False)
    index = ItemIndex(fitted.item_factors, seed=seed, sample_queries=user_factors[sample])
    contents = BundleContents(
        item_ids=data.items.ids,
        user_ids=data.users.ids,
        item_factors=fitted.item_factors,
        user_factors=user_factors,
        mean_user=mean_user,
        item_counts=np.bincount(interest.items[interest.weights > 0], minlength=len(data.items)).astype(np.int64),
        item_last_ms=last_ms,
        centroids=None if index.tuned is None else index.tuned.centroids,
        sequence=SequenceNetwork(fitted.weights, fitted.parameters.heads),
    )
    fields = ManifestFields(
        parameters=None,
        weighting=weighting,
        event_preset=settings.data.events,
        seed=seed,
        user_id_type=data.user_id_type,
        item_id_type=data.item_id_type,
        data=DataFacts(
            name=data.name,
            fingerprint=data.fingerprint,
            n_interactions=len(data),
            last_ms=int(data.times_ms.max()),
            log_events=data.log_events,
        ),
        metrics=metrics,
        index=IndexFacts(
            kind=index.kind, recall=index.recall, probes=None if index.tuned is None else index.tuned.probes
        ),
        sequence=SequenceFacts(parameters=fitted.parameters, rounds=fitted.rounds),
    )
    return write_bundle(settings.bundles_dir, contents, fields)

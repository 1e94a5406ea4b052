"""A fitted sequence model as a first stage, over the events of a `TrainingData`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from configs.event_types import Weighting
from models.factors.als import AlsFactors
from models.sequence.histories import UserSequences, sequences_of
from models.sequence.parameters import SequenceParameters
from models.sequence.training import FittedSequence, fit_sequence
from models.training.first_stage import FirstStage
from models.training.training_data import TrainingData


def training_sequences(data: TrainingData, rows: np.ndarray, weighting: Weighting) -> UserSequences:
    """The sequences of all users, of those events among `rows` that speak for interest, in the order of their turns."""
    speaks = data.types.confidence(data.codes[rows], data.values[rows], weighting) > 0
    rows = rows[speaks]
    return sequences_of(data.user[rows], data.item[rows], data.turn[rows], len(data.users))


def fit_on_rows(
    data: TrainingData,
    rows: np.ndarray,
    weighting: Weighting,
    parameters: SequenceParameters,
    seed: int,
    rounds: int | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> FittedSequence:
    """As `models.sequence.training.fit_sequence`, on these events of the data."""
    return fit_sequence(training_sequences(data, rows, weighting), len(data.items), parameters, seed, rounds, note)


def sequence_stage(stage: FirstStage, fitted: FittedSequence) -> FirstStage:
    """A first stage of the same events whose candidates are those of the sequence model."""
    factors = AlsFactors(stage.factors.user_factors, fitted.item_factors)
    known = stage.known_items & fitted.item_factors.any(axis=1)
    return replace(stage, factors=factors, known_items=known, fold_in=None, sequence=fitted.encoder())

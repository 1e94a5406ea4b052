"""From what a query says of its user to a vector: by the fold-in, or by the network of a sequence model."""

from collections.abc import Sequence

import numpy as np

from models.bundle.reading import Bundle
from models.factors.fold_in import FoldIn
from models.retrieval.query import Query
from models.sequence.encoder import SequenceEncoder


def user_model(bundle: Bundle, prior_weight: float) -> FoldIn | SequenceEncoder:
    """What makes the vectors of a bundle's users."""
    if bundle.sequence is not None:
        return SequenceEncoder(bundle.item_factors, bundle.sequence.weights, bundle.sequence.heads)
    parameters = bundle.manifest.parameters
    assert parameters is not None  # `models.bundle.reading` refuses a bundle with neither
    return FoldIn(
        bundle.item_factors,
        parameters.regularization,
        parameters.alpha,
        prior=bundle.mean_user,
        prior_weight=prior_weight,
        weight_power=parameters.weight_power,
    )


def user_vectors(model: FoldIn | SequenceEncoder, queries: Sequence[Query]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (B, f) float32, and known (B,) bool: False, and zeros, where the history says nothing."""
    if isinstance(model, SequenceEncoder):
        return model.encode([query.sequence for query in queries])
    return model.solve([query.items for query in queries], [query.weights for query in queries])

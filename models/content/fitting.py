"""Fits a content map: ridge regression from what is written of items to their learned factors.

Items are weighted by a power of their events: a factor learned from many is known better, and what many take up is
what a new item is to be like. Weights, the pull towards zero and how much words count are chosen on items that were
left out, by whether the users who took them up would have found them; so is whether the map is used at all.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from models.content.content_map import MOST_KEYWORDS, MOST_WORDS, ContentInputs
from models.content.description import (
    ContentField,
    Description,
    keywords_of,
    number_names,
    numbers_of,
    vector_length,
    vectors_of,
    words_of,
)

FEWEST_EVENTS = 5
"""Of an item from which is learned."""
MOST_ITEMS = 200_000
"""From which is learned, those with the most events: it bounds memory and time."""
_FEWEST_ITEMS = 2  # with a word or keyword, else it says nothing of others
_STEPS = 60  # of conjugate gradients, at most
_ACCURACY = 1e-4


@dataclass(frozen=True)
class RidgeParameters:
    """How a map is fitted.

    Attributes:
        pull: towards zero, in items of mean weight.
        power: of an item's events that it weighs by.
        word_scale: how much words count beside the rest; 0 leaves them out.
    """

    pull: float
    power: float
    word_scale: float


def fit_inputs(items: Sequence[Description], fields: tuple[ContentField, ...], word_scale: float) -> ContentInputs:
    """The words and keywords that at least two items have, the most frequent where there are many, and the scales of
    the numbers. No words where `word_scale` is 0."""
    keywords: Counter[str] = Counter()
    words: Counter[str] = Counter()
    numbers = np.empty((len(items), len(number_names(fields)) + vector_length(fields)))
    for row, item in enumerate(items):
        item = item._replace(attributes=dict(item.attributes.items()))  # parsed once
        keywords.update(set(keywords_of(item, fields)))
        words.update(words_of(item, fields) if word_scale else ())
        numbers[row] = [*numbers_of(item, fields), *vectors_of(item, fields)]
    kept, kept_words = _frequent(keywords, MOST_KEYWORDS), _frequent(words, MOST_WORDS)
    counts = np.array([words[text] for text in kept_words.tolist()], np.float64)
    present = ~np.isnan(numbers)
    count = np.maximum(present.sum(axis=0), 1)
    means = np.where(present, numbers, 0.0).sum(axis=0) / count
    deviations = np.sqrt(np.where(present, (numbers - means) ** 2, 0.0).sum(axis=0) / count)
    return ContentInputs(
        fields=fields,
        keywords=kept,
        words=kept_words,
        word_weights=np.log1p(len(items) / np.maximum(counts, 1)).astype(np.float32),
        word_scale=word_scale,
        means=means,
        deviations=np.where(deviations > 0, deviations, 1.0),
    )


def _frequent(counts: Counter[str], most: int) -> np.ndarray:
    found = [text for text, count in counts.items() if count >= _FEWEST_ITEMS]
    found = sorted(found, key=lambda text: (-counts[text], text))[:most]
    return np.array(sorted(found), dtype=object)


def fit_ridge(rows: sp.csr_matrix, factors: np.ndarray, events: np.ndarray, parameters: RidgeParameters) -> np.ndarray:
    """Weights (width, f) float32 that minimise the weighted squared error plus the pull, by conjugate gradients on the
    normal equations, all factors at once. The constant is not pulled.

    Args:
        rows: (n, width), the constant first.
        factors: (n, f).
        events: (n,) > 0.
    """
    weight = events.astype(np.float64) ** parameters.power
    weight /= weight.mean()
    pull = np.full(rows.shape[1], parameters.pull)
    pull[0] = 1e-6
    inputs = rows.astype(np.float64)
    turned = inputs.T.tocsr()
    diagonal = np.asarray(turned.power(2) @ weight).ravel() + pull
    # Kept small by the preconditioner: the constant and a keyword of all items are nearly the same column.
    solution = np.zeros((rows.shape[1], factors.shape[1]))
    residual = turned @ (weight[:, None] * factors)
    first = np.linalg.norm(residual, axis=0)
    ready = residual / diagonal[:, None]
    step, old = ready.copy(), (residual * ready).sum(axis=0)
    for _ in range(_STEPS):
        image = turned @ (weight[:, None] * (inputs @ step)) + pull[:, None] * step
        length = old / np.maximum((step * image).sum(axis=0), np.finfo(float).tiny)
        solution += length * step
        residual -= length * image
        if (np.linalg.norm(residual, axis=0) <= _ACCURACY * first).all():
            break
        ready = residual / diagonal[:, None]
        new = (residual * ready).sum(axis=0)
        step = ready + new / np.maximum(old, np.finfo(float).tiny) * step
        old = new
    return solution.astype(np.float32)

"""A content map: from what is written of an item to its vector in the space of the item factors.

The vector is linear in the inputs, so that of a new item is a sum of a few rows: microseconds, in every replica.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

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

MOST_WORDS = MOST_KEYWORDS = 20_000
"""Of each, the most frequent. With 64 factors their rows take 10 MB."""
LARGEST = 3.0
"""Standard deviations at which a number is cut, so that one odd value throws no vector far away."""
VECTOR_SCALE = 3.0
"""Length of the standard scores of a vector, which are many and speak together, beside the 1 of a keyword."""
_PER_NUMBER = 3
_BLOCK = 20_000


@dataclass(frozen=True)
class ContentInputs:
    """What turns descriptions into the rows of a matrix.

    Columns: a constant; the keywords, 1 each; the words, by their weights and as a unit vector times `word_scale`; for
    each number its standard score, the square of that and whether it is missing; for the vectors their standard scores,
    together about as long as `VECTOR_SCALE`, zeros where one is missing.

    Attributes:
        fields: the attributes that are read.
        keywords: (k,) str objects, see `description.keywords_of`.
        words: (w,) str objects.
        word_weights: (w,) float32 > 0, inverse document frequencies.
        word_scale: how much the words count beside the rest; 0 where they are left out.
        means, deviations: (m,) float64 of the numbers, and behind them of the numbers of the vectors; deviations > 0.
    """

    fields: tuple[ContentField, ...]
    keywords: np.ndarray
    words: np.ndarray
    word_weights: np.ndarray
    word_scale: float
    means: np.ndarray
    deviations: np.ndarray
    _keyword_place: dict[str, int] = field(init=False, repr=False, compare=False)
    _word_place: dict[str, tuple[int, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keyword_place", {text: place for place, text in enumerate(self.keywords.tolist())})
        object.__setattr__(
            self, "_word_place", dict(zip(self.words.tolist(), enumerate(self.word_weights.tolist()), strict=True))
        )

    @property
    def width(self) -> int:
        """How many columns there are."""
        numbers = len(number_names(self.fields))
        return 1 + len(self.keywords) + len(self.words) + _PER_NUMBER * numbers + vector_length(self.fields)

    def rows(self, items: Sequence[Description]) -> tuple[sp.csr_matrix, np.ndarray]:
        """The inputs of n items.

        Returns:
            (n, width) float32, and (n,) bool: whether anything is known of an item but the constant.
        """
        texts, scores, known = self.parts(items)
        return sp.hstack([texts, sp.csr_matrix(scores)], format="csr", dtype=np.float32), known

    def parts(self, items: Sequence[Description]) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
        """As `rows`, the columns of keywords and words apart from those of the numbers."""
        first_word = 1 + len(self.keywords)
        first_number = first_word + len(self.words)
        items = [item._replace(attributes=dict(item.attributes.items())) for item in items]  # parsed once
        columns: list[int] = []
        values: list[float] = []
        edges = [0]
        numbers = np.empty((len(items), len(self.means)))
        for row, item in enumerate(items):
            numbers[row] = [*numbers_of(item, self.fields), *vectors_of(item, self.fields)]
        known = np.array(np.isfinite(numbers).any(axis=1))
        for row, item in enumerate(items):
            columns.append(0)
            values.append(1.0)
            keywords = {self._keyword_place.get(text, -1) for text in keywords_of(item, self.fields)}
            keywords.discard(-1)
            columns += [1 + place for place in keywords]
            values += [1.0] * len(keywords)
            words: list[tuple[int, float]] = []
            if self.word_scale:
                found = (self._word_place.get(text) for text in words_of(item, self.fields))
                words = [one for one in found if one is not None]
            if words:
                length = sum(weight**2 for _, weight in words) ** 0.5
                columns += [first_word + place for place, _ in words]
                values += [self.word_scale * weight / length for _, weight in words]
            known[row] |= bool(keywords) or bool(words)
            edges.append(len(columns))
        shape = (len(items), first_number)
        texts = sp.csr_matrix((np.array(values, np.float32), np.array(columns, np.int64), edges), shape)
        return texts, self._scores(numbers), known

    def _scores(self, numbers: np.ndarray) -> np.ndarray:
        """(n, 3 m + v) float32: of numbers the standard scores, their squares and what is missing; then the vectors."""
        missing = np.isnan(numbers)
        scores = np.clip((numbers - self.means) / self.deviations, -LARGEST, LARGEST)
        scores[missing] = 0.0
        plain = len(number_names(self.fields))
        numbers, vectors = scores[:, :plain], scores[:, plain:]
        vectors = vectors * (VECTOR_SCALE / max(vectors.shape[1], 1) ** 0.5)
        return np.concatenate([numbers, numbers**2, missing[:, :plain], vectors], axis=1).astype(np.float32)


@dataclass(frozen=True)
class ContentMap:
    """The inputs, and what each of them adds to a vector.

    Attributes:
        inputs: of `inputs.width` columns.
        weights: (inputs.width, f) float32.
    """

    inputs: ContentInputs
    weights: np.ndarray

    def factors(self, items: Sequence[Description]) -> np.ndarray:
        """(n, f) float32; zeros where nothing is known of an item."""
        result = np.zeros((len(items), self.weights.shape[1]), np.float32)
        for start in range(0, len(items), _BLOCK):
            texts, scores, known = self.inputs.parts(items[start : start + _BLOCK])
            first = texts.shape[1]
            found = texts @ self.weights[:first] + scores @ self.weights[first:]
            result[start : start + len(known)][known] = found[known]
        return result


def content_arrays(content: ContentMap) -> dict[str, np.ndarray]:
    """The arrays of `content.npz`, by name; the texts are packed where they are written."""
    inputs = content.inputs
    return {
        "keywords": inputs.keywords,
        "words": inputs.words,
        "word_weights": inputs.word_weights,
        "word_scale": np.array([inputs.word_scale], np.float32),
        "means": inputs.means,
        "deviations": inputs.deviations,
        "weights": content.weights,
    }


def check_content(content: ContentMap, n_factors: int) -> None:
    """Raises ValueError where the arrays do not fit together or hold numbers that are not finite."""
    inputs = content.inputs
    n_numbers = len(number_names(inputs.fields)) + vector_length(inputs.fields)
    expected = {
        "word_weights": ((len(inputs.words),), np.float32),
        "means": ((n_numbers,), np.float64),
        "deviations": ((n_numbers,), np.float64),
        "weights": ((inputs.width, n_factors), np.float32),
    }
    arrays = content_arrays(content)
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"content.{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype).name} {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"content.{name} holds numbers that are not finite")
    if not np.isfinite(inputs.word_scale):
        raise ValueError("content.word_scale is not finite")
    if (inputs.deviations <= 0).any() or (inputs.word_weights <= 0).any():
        raise ValueError("content.deviations and content.word_weights must be above 0")
    for name, texts in (("keywords", inputs.keywords), ("words", inputs.words)):
        if len(set(texts.tolist())) != len(texts):
            raise ValueError(f"content.{name} must be distinct")

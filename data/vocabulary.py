"""Between id texts and the row numbers of a matrix."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa


@dataclass(frozen=True)
class Vocabulary:
    """Distinct id texts in a fixed order.

    Attributes:
        ids: (n,) str objects.
    """

    ids: np.ndarray
    _index: pd.Index = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = pd.Index(self.ids, dtype=object)
        if not index.is_unique:
            raise ValueError(f"id {index[index.duplicated()][0]!r} appears twice in the vocabulary")
        object.__setattr__(self, "_index", index)

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, texts: Iterable[str]) -> np.ndarray:
        """(m,) int64 positions of the texts, -1 where unknown."""
        return self._index.get_indexer(pd.Index(texts, dtype=object)).astype(np.int64)


def build_vocabulary(texts: Iterable[str], id_type: Literal["int", "str"]) -> Vocabulary:
    """Vocabulary over the distinct texts; integers in numeric order when `id_type` is "int", else by code point.

    Among integers a text that is none (a client may send any) comes last. The order decides ties in rankings, so it
    must not depend on the order of the events.
    """
    distinct = pd.unique(pd.Series(texts, dtype=object)).tolist()
    if id_type == "str":
        return Vocabulary(np.array(sorted(distinct), dtype=object))
    numbers = {text: int(text) for text in distinct if text.isascii() and text.removeprefix("-").isdigit()}
    ordered = sorted(numbers, key=lambda text: (numbers[text], text)) + sorted(set(distinct) - set(numbers))
    return Vocabulary(np.array(ordered, dtype=object))


def text_codes(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The texts that occur in a column, of texts or of a dictionary of them, and for each row the place of its own.

    Returns:
        (m,) str objects, in the order of the dictionary or of their first rows; (n,) int64.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = column.unify_dictionaries().chunks
    if not chunks:
        return np.empty(0, object), np.empty(0, np.int64)
    texts = np.array(chunks[0].dictionary.to_pylist(), object)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    # A dictionary may hold texts whose rows were left out
    occurs = np.bincount(codes, minlength=len(texts)) > 0
    return texts[occurs], (np.cumsum(occurs) - 1)[codes]

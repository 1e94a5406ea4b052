"""What a list leaves out for its user: one rule for serving, training, the gate, batch lists and evaluations.

Left out are items with an event of a type that counts as seen, and items whose latest judgement was a "no". What was
only viewed or put into a cart, in a preset whose types say so, stays, and may be the right answer again.
"""

from typing import NamedTuple

import numpy as np

from configs.event_types import EventTypes
from models.factors.interest import Interest


class Exclusion(NamedTuple):
    """Pairs (row, item) that are left out, sorted by row: seen ones, each as often as it was seen, and refused ones.

    A request may ask for seen items again; refused ones stay away all the same.
    """

    seen_rows: np.ndarray
    seen_items: np.ndarray
    refused_rows: np.ndarray
    refused_items: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """(p,) rows of all pairs, the seen ones first."""
        return np.concatenate([self.seen_rows, self.refused_rows])

    @property
    def items(self) -> np.ndarray:
        """(p,) items of all pairs, as `rows`."""
        return np.concatenate([self.seen_items, self.refused_items])


def left_out(
    rows: np.ndarray, items: np.ndarray, codes: np.ndarray, types: EventTypes, interest: Interest
) -> Exclusion:
    """What the events of some histories leave out.

    Args:
        rows: (n,) int, rising: whose event each is.
        items: (n,) int, -1 for an item that has no position.
        codes: (n,) uint8, event type codes.
        types: meanings of the codes.
        interest: of the same histories.
    """
    seen = (items >= 0) & types.seen_codes[codes]
    return Exclusion(rows[seen], items[seen], interest.users[interest.refused], interest.items[interest.refused])

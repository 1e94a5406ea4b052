"""What the console asks `Retrieval` about one item, and gets."""

from typing import NamedTuple


class Similar(NamedTuple):
    """Neighbours of one item, with their cosines; `known` is False for an item that neither model nor catalogue has."""

    version: str | None
    item_id_type: str
    known: bool
    items: list[tuple[bytes, float]]

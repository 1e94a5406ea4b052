"""Items and users as a data set describes them: its columns as the catalogue and the store keep them."""

from collections.abc import Iterator

import pandas as pd

from data.dataset import Dataset
from data.fields.attributes import Value
from data.fields.frames import frame_attributes
from features.items.catalogue import Item
from features.items.packed_attributes import NO_ATTRIBUTES, PackedAttributes


def catalogue_items(dataset: Dataset) -> Iterator[Item]:
    """The data set's items, as the catalogue lists them."""
    columns = dataset.items[["item_id", "title", "year", "categories", "added_ms"]].itertuples(index=False)
    described = frame_attributes(dataset.items, dataset.item_attributes)
    for (item_id, title, year, categories, added_ms), attributes in zip(columns, described, strict=True):
        known_year = None if pd.isna(year) else int(year)
        added = 0 if pd.isna(added_ms) else int(added_ms)
        packed = PackedAttributes(attributes) if attributes else NO_ATTRIBUTES
        yield Item(item_id, title, known_year, tuple(categories), created_ms=added, attributes=packed)


def described_users(dataset: Dataset) -> Iterator[tuple[str, dict[str, Value]]]:
    """User id and attributes of the users of whom the data set knows any."""
    for user_id, attributes in zip(
        dataset.users["user_id"], frame_attributes(dataset.users, dataset.user_attributes), strict=True
    ):
        if attributes:
            yield user_id, attributes

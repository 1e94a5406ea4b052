"""Which preset of `configs/presets` fits a table of events, guessed from its types and the words of its columns."""

from typing import Any

import pyarrow as pa

from data.mapping.conversions import ids
from data.mapping.sample import Sample

_WORDS = {
    "news": ("news", "headline"),
    "jobs": ("job", "vacancy", "applicant", "candidate"),
    "courses": ("course", "student", "learner", "lesson"),
    "video": ("video", "episode", "watch", "stream", "track", "song", "listen"),
    "movies": ("movie", "film", "anime"),
    "groceries": ("grocer", "household", "basket", "supermarket", "aisle"),
}
_REPEATS = 0.3


def guess_preset(sample: Sample, fields: dict[str, Any], addresses: list[str]) -> str:
    """The name of the preset that the tables' columns and names speak for.

    Args:
        fields: the part `interactions` of the map.
        addresses: of the tables, whose names may tell the domain.
    """
    kind = fields["event_type"]
    types = {kind["constant"]} if "constant" in kind else set(kind.get("map") or {})
    if "column" in kind:  # words that are types themselves stand in no map
        types |= {word.lower() for word in sample.texts(kind["column"], 1000)}
    bought = bool(types & {"purchase", "add_to_cart"})
    # Of a path only its end names the table: a home of movies holds orders too.
    words = " ".join([*sample.columns, *(address.rstrip("/").rsplit("/", 1)[-1] for address in addresses)]).lower()
    words = words.replace("newsletter", "")
    for preset, roots in _WORDS.items():
        if preset == "groceries" and not bought:
            continue
        if any(root in words for root in roots):
            return preset
    if bought:
        # Views and carts of what is then bought are no repeats, so only a table of purchases alone can tell.
        return "groceries" if "constant" in kind and repeats(sample, fields) > _REPEATS else "shops"
    if "apply" in types:
        return "jobs"
    if types & {"watch", "complete"}:
        return "video"
    return "movies" if types == {"rating"} else "shops"


def repeats(sample: Sample, fields: dict[str, Any]) -> float:
    """Share of the sampled rows whose user had the same item before."""
    users, _ = ids(sample.table[fields["user_id"]])
    items, _ = ids(sample.table[fields["item_id"]])
    pairs = pa.table([users, items], names=["u", "i"]).group_by(["u", "i"]).aggregate([])
    return 1 - pairs.num_rows / sample.table.num_rows

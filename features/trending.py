"""Trending items: weights decayed by a half-life, merged over the partitions."""

from collections.abc import Mapping

from features.catalogue import Item
from features.connection import StoreClient
from features.keys import Keys
from features.user_features import ACTIVITY_HALF_LIVES_MS

HALF_LIVES_MS = ACTIVITY_HALF_LIVES_MS


async def read_trending(
    client: StoreClient,
    keys: Keys,
    limit: int,
    window: str,
    category: str | None = None,
    items: Mapping[str, Item] | None = None,
) -> list[tuple[str, float]]:
    """The items with the greatest decayed weight, in one round trip.

    An event's weight is its `preference` confidence, halved with every half-life. Each partition offers its
    strongest items (twice `limit`, at least 200, at most `store.TRENDING_LIMIT`; all that it keeps when `items` is
    given); their weights are added up over the partitions. So the sum is exact for catalogues of that size, and
    beyond it misses only what an item earned in partitions where it is far from the top.

    Args:
        limit: items at most.
        window: half-life: "1h", "1d" or "7d".
        category: only items of this category; needs `items`, the catalogue. Hidden and deleted ones are left out
            as well when `items` is given.

    Returns:
        (item id, weight as at the newest event), greatest first; ties by item id.

    Raises:
        ValueError: no such window; a category without items.
        StoreUnavailable: no answer.
    """
    if window not in HALF_LIVES_MS:
        raise ValueError(f"window: {window!r} is none of {', '.join(HALF_LIVES_MS)}")
    if category is not None and items is None:
        raise ValueError("category: needs the catalogue's items")
    partitions = range(keys.partitions)
    # A category's items may stand far down; without one, the head of each partition is enough
    depth = -1 if items is not None else max(2 * limit, 200) - 1
    answers = await client.read(
        [("ZREVRANGE", keys.trending(partition, window), 0, depth, "WITHSCORES") for partition in partitions]
        + [("HGET", keys.totals(partition), "last_ms") for partition in partitions]
    )
    heads, newest = answers[: keys.partitions], [int(answer) for answer in answers[keys.partitions :] if answer]
    at = max(newest, default=0) / HALF_LIVES_MS[window]
    totals: dict[bytes, float] = {}
    highest: dict[bytes, float] = {}
    for head in heads:
        for item_id, text in zip(head[::2], head[1::2], strict=True):
            score = float(text)
            totals[item_id] = totals.get(item_id, 0.0) + 2.0 ** (score - at)
            highest[item_id] = max(highest.get(item_id, score), score)
    ranked = sorted(totals, key=lambda item_id: (-totals[item_id], -highest[item_id], item_id))
    found: list[tuple[str, float]] = []
    for raw in ranked:  # weights of very old events underflow to 0; their order still follows the scores
        item_id = raw.decode()
        if items is None or _wanted(items.get(item_id), category):
            found.append((item_id, totals[raw]))
        if len(found) == limit:
            break
    return found


def _wanted(item: Item | None, category: str | None) -> bool:
    if item is None:
        return category is None
    return item.recommendable and (category is None or category in item.categories)

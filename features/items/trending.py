"""Trending items: weights decayed by a half-life, merged over the partitions."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from configs.decay import ACTIVITY_HALF_LIVES_MS, STRENGTH_DIGITS
from features.items.catalogue import Item
from features.redis.connection import StoreClient
from features.redis.keys import Keys


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
    if window not in ACTIVITY_HALF_LIVES_MS:
        raise ValueError(f"window: {window!r} is none of {', '.join(ACTIVITY_HALF_LIVES_MS)}")
    if category is not None and items is None:
        raise ValueError("category: needs the catalogue's items")
    # A category's items may stand far down; without one, the head of each partition is enough
    depth = None if items is not None else max(2 * limit, 200)
    [popularity] = await read_popularity(client, keys, [window], depth)
    found: list[tuple[str, float]] = []
    for raw, weight in zip(popularity.item_ids, popularity.weights.tolist(), strict=True):
        item_id = raw.decode()
        if items is None or _wanted(items.get(item_id), category):
            found.append((item_id, weight))
        if len(found) == limit:
            break
    return found


@dataclass(frozen=True)
class Popularity:
    """Decayed weights of all users' events, as at the newest event.

    Attributes:
        item_ids: greatest weight first.
        weights: (n,) float64. Those of very old events underflow to 0; the order still follows them.
    """

    item_ids: list[bytes]
    weights: np.ndarray


async def read_popularity(
    client: StoreClient, keys: Keys, windows: Sequence[str], depth: int | None = None
) -> list[Popularity]:
    """Popularity under half-lives, in one round trip.

    Args:
        windows: names of half-lives in `ACTIVITY_HALF_LIVES_MS`.
        depth: strongest items asked of each partition; None for all that it keeps (`store.TRENDING_LIMIT`).
    """
    partitions = keys.partitions
    last = -1 if depth is None else depth - 1
    answers = await client.read(
        [
            ("ZREVRANGE", keys.trending(partition, window), 0, last, "WITHSCORES")
            for window in windows
            for partition in range(partitions)
        ]
        + [("HGET", keys.totals(partition), "last_ms") for partition in range(partitions)]
    )
    newest_ms = max((int(answer) for answer in answers[-partitions:] if answer), default=0)

    def merged() -> list[Popularity]:
        return [
            _merge(answers[place * partitions : (place + 1) * partitions], newest_ms / ACTIVITY_HALF_LIVES_MS[window])
            for place, window in enumerate(windows)
        ]

    # Beside the event loop, for which requests wait: 16 partitions of 1,050 items take 10 ms a window.
    return await asyncio.to_thread(merged)


@dataclass(frozen=True)
class Standing:
    """How far the events have come: `events` of all users, and the newest one's time (None without any)."""

    events: int
    newest_ms: int | None


async def read_standing(client: StoreClient, keys: Keys) -> Standing:
    """Read the standing in one round trip. Raises `StoreUnavailable`."""
    answers = await client.read(
        [("HMGET", keys.totals(partition), "events", "last_ms") for partition in range(keys.partitions)]
    )
    return Standing(
        sum(int(events or 0) for events, _ in answers), max((int(last) for _, last in answers if last), default=None)
    )


def _merge(heads: Sequence[Sequence[bytes]], at: float) -> Popularity:
    """Add up the partitions' weights. `at` is the moment in half-lives; a score less `at` is log2 of a weight then.

    Training computes the same sums in another order, so what differs in the last digits alone counts as equal there and
    here (`configs.decay.STRENGTH_DIGITS`).
    """
    index: dict[bytes, int] = {}
    places = np.array([index.setdefault(item_id, len(index)) for head in heads for item_id in head[::2]], np.int64)
    if not len(places):
        return Popularity([], np.empty(0))
    scores = np.array([text for head in heads for text in head[1::2]]).astype(np.float64)
    highest = np.full(len(index), -np.inf)
    np.maximum.at(highest, places, scores)
    strength = highest + np.log2(np.bincount(places, np.exp2(scores - highest[places]), len(index)))
    weights, told = np.bincount(places, np.exp2(scores - at), len(index)), np.round(strength, STRENGTH_DIGITS)
    item_ids = list(index)
    order = np.argsort(-told, kind="stable")
    tied = np.diff(told[order]) == 0
    # A tie goes by the id. Sorting all ids for the few that are tied would cost more than all the rest.
    for first, last in _runs(tied):
        order[first:last] = sorted(order[first:last].tolist(), key=item_ids.__getitem__)
    return Popularity([item_ids[place] for place in order.tolist()], weights[order])


def _runs(tied: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 of each run of places, where `tied[i]` says that i + 1 is tied with i."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], tied, [False]]).astype(np.int8)))
    return [(first, last + 1) for first, last in edges.reshape(-1, 2).tolist()]


def _wanted(item: Item | None, category: str | None) -> bool:
    if item is None:
        return category is None
    return item.recommendable and (category is None or category in item.categories)

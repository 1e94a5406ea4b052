"""Features of many events at once, as `record_event.lua` would have left them: how a data set, and history that was
imported in bulk, get into the store.

One script call per event takes some 100 us of the server and writes the whole history anew each time; what is known
from end to end is computed here with numpy and written once. A test holds both ways equal.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS, REFUSAL_AFFINITY
from data.store_order import store_order
from data.vocabulary import text_codes
from features.recording.online_store import CATEGORY_LIMIT, TRENDING_LIMIT, WINDOWS, OnlineStore
from features.redis.connection import Command
from features.users.history import RECORD
from models.ranking.once_per_user import added_popularity

HALF_LIVES_MS = np.array(list(ACTIVITY_HALF_LIVES_MS.values()), np.float64)
_PACK_SUMS, _PACK_AFFINITY = struct.Struct("<dddd").pack, struct.Struct("<dd").pack


@dataclass(frozen=True)
class SeedEvents:
    """Events that are seeded, in any order.

    Attributes:
        table: `user_id`, `item_id` and `event_type`, which may be dictionaries, `value`, `timestamp_ms`, and
            `stream_ms`: when the event came, 0 where it was never in a stream.
        category_sets: distinct lists of categories.
        category_set: (n,) int, the place of each event's list among them.
    """

    table: pa.Table
    category_sets: Sequence[Sequence[str]]
    category_set: np.ndarray


class Seed:
    """Events that are known from end to end, in the order of the histories.

    Args:
        store: whose keys, limits and event types hold.
        events: what happened.
        now_us: the server's clock; every user's version begins there.
    """

    def __init__(self, store: OnlineStore, events: SeedEvents, now_us: int) -> None:
        self._store = store
        self._now_us = now_us
        types, table = store.event_types, events.table
        user_ids, users = text_codes(table["user_id"])
        item_ids, items = text_codes(table["item_id"])
        names, named = text_codes(table["event_type"])
        self.user_ids: list[str] = user_ids.tolist()
        self.item_ids: list[str] = item_ids.tolist()
        self._item_bytes = [item_id.encode() for item_id in self.item_ids]
        codes = np.array([types[name].code for name in names.tolist()], np.uint8)[named]
        values = pc.fill_null(table["value"].cast(pa.float32(), safe=False), np.nan).to_numpy()
        times = table["timestamp_ms"].to_numpy().astype(np.float64)
        order = store_order(times, items, self._item_bytes, codes, values, users)
        self.users, self.items, self.times = users[order], items[order], times[order]
        self.codes, self.values = codes[order], values[order]
        self.sets, self._came_ms = events.category_set[order], table["stream_ms"].to_numpy()[order]
        self.weights = types.confidence(self.codes, self.values, "preference").astype(np.float64)
        refused = types.is_refusal(self.codes, self.values)
        self.affinities = np.where(refused, REFUSAL_AFFINITY, self.weights)
        # No user counts twice for an item, as in the script.
        self.popularity = added_popularity(
            self.users, self.items, self.times, self.weights, HALF_LIVES_MS, store.limits.history_limit
        )
        self.partitions = np.array([store.keys.partition_of(user_id) for user_id in self.user_ids], np.int64)[
            self.users
        ]
        names_of = events.category_sets
        self._category_names = sorted({name for names in names_of for name in names})
        number = {name: place for place, name in enumerate(self._category_names)}
        self._category_counts = np.array([len(names) for names in names_of], np.int64)
        self._category_starts = np.concatenate(([0], np.cumsum(self._category_counts)))[:-1]
        self._categories = np.array([number[name] for names in names_of for name in names], np.int64)

    def commands(self) -> Iterator[Command]:
        """Plain writes into a store without features."""
        if len(self.users):
            yield from self._user_commands()
            yield from self._item_commands()
            for partition in np.unique(self.partitions).tolist():
                times = self.times[self.partitions == partition]
                totals = ("events", len(times), "last_ms", int(times.max()))
                yield ("HSET", self._store.keys.totals(partition), *totals)

    def _user_commands(self) -> Iterator[Command]:
        store, limits = self._store, self._store.limits
        edges = _edges(self.users)
        activity = _decayed(self.times, np.ones(len(self.times)), edges)
        affinities = self._affinities()
        records = np.empty(len(self.times), RECORD)
        records["time_ms"], records["value"], records["code"] = self.times, self.values, self.codes
        seen = store.event_types.seen_codes[self.codes]
        for start, end, (last, sums) in zip(edges[:-1].tolist(), edges[1:].tolist(), activity, strict=True):
            user = int(self.users[start])
            user_id = self.user_ids[user]
            _, (user_key, history_key, older_key, _) = store.keys.of_user(user_id)
            first_kept = max(start, end - limits.history_limit)
            items = [self._item_bytes[item] for item in self.items[first_kept:end].tolist()]
            packed = struct.pack("<I", end - first_kept) + records[first_kept:end].tobytes() + b"\n".join(items)
            fields: list[Any] = ["ver", self._now_us + end - start, "act", _PACK_SUMS(last, *sums)]
            fields += ["first", int(self.times[start]), "last", int(last)]
            fields += ["at", int(self._came_ms[start:end].max()) or self._now_us // 1000]
            for code, count in enumerate(np.bincount(self.codes[start:end]).tolist()):
                fields += [f"n{code}", count] if count else []
            older = dict.fromkeys(self.items[start:first_kept][seen[start:first_kept]].tolist())
            kept = [self._item_bytes[item] for item in older][-limits.seen_limit :] if limits.seen_limit else []
            fields += ["older", len(kept)] if kept else []
            mine = affinities.get(user, [])
            fields += ["cats", len(mine)] if mine else []
            for name, packed_affinity in mine:
                fields += [f"c:{name}", packed_affinity]
            yield ("HSET", user_key, *fields)
            yield ("SET", history_key, packed)
            if kept:
                yield ("SET", older_key, b"\n".join(kept))
            yield ("ZADD", store.keys.users(store.keys.partition_of(user_id)), 0, user_id)
            if limits.idle_user_days:
                for key in (user_key, history_key, older_key, store.keys.user_attributes(user_id)):
                    yield ("EXPIRE", key, limits.idle_user_days * 86_400)

    def _affinities(self) -> dict[int, list[tuple[str, bytes]]]:
        """User -> (category, packed value), the strongest `CATEGORY_LIMIT`."""
        telling = np.flatnonzero(self.affinities)
        counts = self._category_counts[self.sets[telling]]
        events = np.repeat(telling, counts)
        within = np.arange(len(events)) - np.repeat(np.cumsum(counts) - counts, counts)
        categories = self._categories[np.repeat(self._category_starts[self.sets[telling]], counts) + within]
        order = np.lexsort((self.times[events], categories, self.users[events]))
        events, categories = events[order], categories[order]
        pairs = self.users[events] * max(1, len(self._category_names)) + categories
        edges = _edges(pairs)
        found: dict[int, list[tuple[float, str, bytes]]] = {}
        half_life = np.array([AFFINITY_HALF_LIFE_MS], np.float64)
        sums = _decayed(self.times[events], self.affinities[events], edges, half_life)
        for start, (last, (value,)) in zip(edges[:-1].tolist(), sums, strict=True):
            strength = np.log2(max(abs(value), 1e-300)) + last / AFFINITY_HALF_LIFE_MS
            name = self._category_names[int(categories[start])]
            found.setdefault(int(self.users[events[start]]), []).append((strength, name, _PACK_AFFINITY(last, value)))
        return {
            user: [(name, packed) for _, name, packed in sorted(mine, reverse=True)[:CATEGORY_LIMIT]]
            for user, mine in found.items()
        }

    def _item_commands(self) -> Iterator[Command]:
        keys = self._store.keys
        pairs = self.partitions * len(self.item_ids) + self.items
        order = np.lexsort((self.times, pairs))
        edges = _edges(pairs[order])
        popular = np.flatnonzero(self.popularity[:, order].max(axis=0) > 0)
        weighed = order[popular]
        sums = _decayed(self.times[weighed], self.popularity[:, weighed], _edges(pairs[weighed]))
        firsts = _edges(pairs[weighed])[:-1]
        popularity = dict(zip(pairs[weighed][firsts].tolist(), sums, strict=True))
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            rows = order[start:end]
            pair = int(pairs[rows[0]])
            partition, item = divmod(pair, len(self.item_ids))
            fields: list[Any] = ["first", int(self.times[rows[0]]), "last", int(self.times[rows[-1]])]
            for code, count in enumerate(np.bincount(self.codes[rows]).tolist()):
                fields += [f"n{code}", count] if count else []
            if pair in popularity:
                last, weights = popularity[pair]
                fields += ["pop", _PACK_SUMS(last, *weights)]
            yield ("HSET", keys.item(partition, self.item_ids[item]), *fields)
        yield from self._trending_commands(popularity)

    def _trending_commands(self, popularity: dict[int, tuple[float, list[float]]]) -> Iterator[Command]:
        scores: dict[tuple[int, int], list[tuple[float, str]]] = {}
        for pair, (last, sums) in popularity.items():
            partition, item = divmod(pair, len(self.item_ids))
            for place, (value, half_life) in enumerate(zip(sums, HALF_LIVES_MS.tolist(), strict=True)):
                score = float(np.log2(value)) + last / half_life
                scores.setdefault((partition, place), []).append((score, self.item_ids[item]))
        for (partition, place), ranked in scores.items():
            ranked.sort(reverse=True)
            flat = [part for score, item_id in ranked[:TRENDING_LIMIT] for part in (repr(score), item_id)]
            yield ("ZADD", self._store.keys.trending(partition, WINDOWS[place]), *flat)


def _edges(groups: np.ndarray) -> np.ndarray:
    """(n_groups + 1,) int: the row at which each run of equal values begins, and the number of rows."""
    if not len(groups):
        return np.zeros(1, np.int64)
    return np.concatenate(([0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]))


def _decayed(
    times: np.ndarray, amounts: np.ndarray, edges: np.ndarray, half_lives: np.ndarray = HALF_LIVES_MS
) -> list[tuple[float, list[float]]]:
    """For each run: its latest time, and its amounts decayed to that time by each half-life.

    Args:
        amounts: (n,), or (h, n) where they differ by half-life.
    """
    if len(edges) < 2:
        return []
    latest = np.maximum.reduceat(times, edges[:-1])
    gaps = times - np.repeat(latest, np.diff(edges))
    by_half_life = np.broadcast_to(amounts, (len(half_lives), len(times)))
    sums = [
        np.add.reduceat(mine * np.exp2(gaps / half_life), edges[:-1])
        for mine, half_life in zip(by_half_life, half_lives, strict=True)
    ]
    return list(zip(latest.tolist(), np.stack(sums, axis=1).tolist(), strict=True))

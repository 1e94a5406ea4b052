"""What a training learns from: interactions as arrays, with ids as positions in vocabularies."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from configs.event_types import EventTypes, Weighting
from data.dataset import DataError
from data.vocabulary import Vocabulary, build_vocabulary, text_codes
from models.factors.interest import Interest, aggregate_interest

_LATE_MS = 86_400_000


@dataclass(frozen=True)
class TrainingData:
    """Events with ids as positions in the vocabularies.

    Attributes:
        users, items: every id with an event.
        user, item: (n,) int32 positions.
        times_ms: (n,) int64.
        codes: (n,) uint8, event type codes.
        values: (n,) float32, NaN where there is none.
        arrived_ms: (n,) int64, when the store took each event; its own time where that is not known.
        turn: (n,) int32, 0 to n - 1: the place of each event in the one total order that decides what came before what.
        log_events: how many of the n came from the offline log.
        unknown_types: logged events left out because `events.yaml` does not know their type, by type.
        fingerprint: sha256 over data set and log.
        simulated_left_out: logged events left out because they are simulated.
        time_trusted: whether the times of the data set say what came before what.
        read: partition of the event streams -> id of the last entry that is among the events.
    """

    name: str
    user_id_type: Literal["int", "str"]
    item_id_type: Literal["int", "str"]
    types: EventTypes
    users: Vocabulary
    items: Vocabulary
    user: np.ndarray
    item: np.ndarray
    times_ms: np.ndarray
    codes: np.ndarray
    values: np.ndarray
    arrived_ms: np.ndarray
    turn: np.ndarray
    log_events: int
    unknown_types: dict[str, int]
    fingerprint: str
    simulated_left_out: int = 0
    time_trusted: bool = True
    read: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def in_turn(self) -> np.ndarray:
        """(n,) int32 row numbers in the order of the turns."""
        return np.argsort(self.turn).astype(np.int32)

    @cached_property
    def added(self) -> dict[tuple[int, int], np.ndarray]:
        """What each event adds to its item's popularity, in the order of the turns, by half-life in ms and limit of the
        history; kept by whoever computes it."""
        return {}

    def rows(self, index: np.ndarray) -> "TrainingData":
        """The events of these row numbers; vocabularies, facts and the order of the turns stay those of the whole."""
        times_ms = self.times_ms[index]
        return replace(
            self,
            user=self.user[index],
            item=self.item[index],
            times_ms=times_ms,
            codes=self.codes[index],
            values=self.values[index],
            arrived_ms=times_ms if self.arrived_ms is self.times_ms else self.arrived_ms[index],
            turn=places(np.argsort(self.turn[index], kind="stable")),
        )

    def before(self, share: float) -> np.ndarray:
        """Row numbers, rising, of this share of the events, the earliest."""
        return np.flatnonzero(self.turn < round(share * len(self)))

    def interest(self, weighting: Weighting) -> Interest:
        """One weight for each (user, item); see `models.factors.interest`."""
        return aggregate_interest(self.user, self.item, self.times_ms, self.codes, self.values, self.types, weighting)


def training_data_of(
    interactions: pa.Table | pd.DataFrame,
    types: EventTypes,
    name: str,
    id_types: tuple[Literal["int", "str"], Literal["int", "str"]],
    log_events: int,
    unknown_types: dict[str, int],
    fingerprint: str,
    simulated_left_out: int = 0,
) -> TrainingData:
    """Arrays from canonical interactions (see `data.dataset`), which may say when the store took them (`received_ms`).

    Args:
        interactions: the texts of a table may be dictionaries.

    Raises:
        DataError: too little to learn from (fewer than two users or two items), or an unknown event type.
    """
    table = interactions
    if isinstance(interactions, pd.DataFrame):
        table = pa.Table.from_pandas(interactions, preserve_index=False)
    users, user = _encoded(table["user_id"], id_types[0])
    items, item = _encoded(table["item_id"], id_types[1])
    for vocabulary, what in ((users, "user"), (items, "item")):
        if len(vocabulary) < 2:
            raise DataError(f"{name}: {len(vocabulary)} {what} with events; a model needs at least 2 users and 2 items")
    names, named = _encoded(table["event_type"], "str")
    if unknown := [text for text in names.ids.tolist() if text not in types.by_name]:
        raise DataError(f"{name}: event type {unknown[0]!r} is not in events.yaml")
    times_ms = table["timestamp_ms"].to_numpy()
    arrived_ms = times_ms
    if "received_ms" in table.column_names:
        received_ms = pc.fill_null(table["received_ms"].cast(pa.float64(), safe=False), 0.0).to_numpy()
        arrived_ms = np.where(received_ms > 0, received_ms, times_ms).astype(np.int64)
    values = pc.fill_null(table["value"].cast(pa.float32(), safe=False), np.nan).to_numpy()
    return TrainingData(
        name=name,
        user_id_type=id_types[0],
        item_id_type=id_types[1],
        types=types,
        users=users,
        items=items,
        user=user,
        item=item,
        times_ms=times_ms,
        codes=np.array([types[text].code for text in names.ids.tolist()], np.uint8)[named],
        values=values,
        arrived_ms=arrived_ms,
        turn=total_order(times_ms, arrived_ms),
        log_events=log_events,
        unknown_types=unknown_types,
        fingerprint=fingerprint,
        simulated_left_out=simulated_left_out,
    )


def with_items(data: TrainingData, item_ids: Iterable[str]) -> TrainingData:
    """The same events over a vocabulary that has these items too, whether or not they have events."""
    ids = data.items.ids
    items = build_vocabulary([*ids.tolist(), *item_ids], data.item_id_type)
    return replace(data, items=items, item=items.encode(ids).astype(np.int32)[data.item])


def in_random_order(data: TrainingData, seed: int, before: float = 1.0) -> TrainingData:
    """The same events in a random order and of one moment, for times that do not say what came before what.

    A window of time is then a random part of everybody's events. Times that were dealt at random instead would still
    make an item of many events an old one, and a ranker that learned from early windows by how old things are meets
    other ages where it serves: on 60,000 plays without times NDCG@10 was .116 with such times, and is .124 without.

    Args:
        before: only those of this share of the events, the earliest. Events of the log stay where they are: they came
            one after another.
    """
    last = min(round(before * len(data)), len(data) - data.log_events)
    rows = np.flatnonzero(data.turn < last)
    times_ms, arrived_ms, turn = (part.copy() for part in (data.times_ms, data.arrived_ms, data.turn))
    times_ms[rows] = arrived_ms[rows] = times_ms[rows].max(initial=0)
    turn[rows] = np.random.default_rng(seed).permutation(turn[rows])
    return replace(data, times_ms=times_ms, arrived_ms=arrived_ms, turn=turn, time_trusted=False)


def _encoded(column: pa.ChunkedArray, id_type: Literal["int", "str"]) -> tuple[Vocabulary, np.ndarray]:
    """The texts that occur, and (n,) int32 the position of each row's."""
    texts, codes = text_codes(column)
    vocabulary = build_vocabulary(texts, id_type)
    return vocabulary, vocabulary.encode(texts).astype(np.int32)[codes]


def total_order(times_ms: np.ndarray, arrived_ms: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n,) int32 turns, 0 to n - 1: by arrival, ties by a seeded random number.

    An event that arrived more than a day after it happened was imported or replayed, so its own time is taken for its
    arrival: otherwise a history that came as one file would have happened in one moment.
    """
    placed_ms = np.where(arrived_ms - times_ms < _LATE_MS, np.maximum(arrived_ms, times_ms), times_ms)
    return places(np.lexsort((np.random.default_rng(seed).random(len(times_ms)), placed_ms)))


def places(order: np.ndarray) -> np.ndarray:
    """(n,) int32: at which place of `order`, which holds the numbers 0 to n - 1, each of them stands."""
    found = np.empty(len(order), np.int32)
    found[order] = np.arange(len(order), dtype=np.int32)
    return found

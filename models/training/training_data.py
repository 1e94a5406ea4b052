"""What a training learns from: interactions as arrays, with ids as positions in vocabularies."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from configs.event_types import EventTypes, Weighting
from data.dataset import DataError
from data.vocabulary import Vocabulary, build_vocabulary
from models.factors.interest import Interest, aggregate_interest

_LATE_MS = 86_400_000


@dataclass(frozen=True)
class TrainingData:
    """Events with ids as positions in the vocabularies.

    Attributes:
        users, items: every id with an event.
        user, item: (n,) int64 positions.
        times_ms: (n,) int64.
        codes: (n,) uint8, event type codes.
        values: (n,) float32, NaN where there is none.
        arrived_ms: (n,) int64, when the store took each event; its own time where that is not known.
        turn: (n,) int64, 0 to n - 1: the place of each event in the one total order that decides what came before what.
        log_events: how many of the n came from the offline log.
        unknown_types: logged events left out because `events.yaml` does not know their type, by type.
        fingerprint: sha256 over data set and log.
        simulated_left_out: logged events left out because they are simulated.
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

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, index: np.ndarray) -> "TrainingData":
        """The events of these row numbers; vocabularies, facts and the order of the turns stay those of the whole."""
        return replace(
            self,
            user=self.user[index],
            item=self.item[index],
            times_ms=self.times_ms[index],
            codes=self.codes[index],
            values=self.values[index],
            arrived_ms=self.arrived_ms[index],
            turn=places(np.argsort(self.turn[index], kind="stable")),
        )

    def before(self, share: float) -> np.ndarray:
        """Row numbers, rising, of this share of the events, the earliest."""
        return np.flatnonzero(self.turn < round(share * len(self)))

    def interest(self, weighting: Weighting) -> Interest:
        """One weight for each (user, item); see `models.factors.interest`."""
        return aggregate_interest(self.user, self.item, self.times_ms, self.codes, self.values, self.types, weighting)


def training_data_from_frame(
    frame: pd.DataFrame,
    types: EventTypes,
    name: str,
    id_types: tuple[Literal["int", "str"], Literal["int", "str"]],
    log_events: int,
    unknown_types: dict[str, int],
    fingerprint: str,
    simulated_left_out: int = 0,
) -> TrainingData:
    """Arrays from canonical interactions (see `data.dataset`), which may say when the store took them (`received_ms`).

    Raises:
        DataError: too little to learn from (fewer than two users or two items), or an unknown event type.
    """
    users = build_vocabulary(frame["user_id"], id_types[0])
    items = build_vocabulary(frame["item_id"], id_types[1])
    for vocabulary, what in ((users, "user"), (items, "item")):
        if len(vocabulary) < 2:
            raise DataError(f"{name}: {len(vocabulary)} {what} with events; a model needs at least 2 users and 2 items")
    codes = frame["event_type"].map({name: types[name].code for name in types.by_name})
    if codes.isna().any():
        bad = frame.loc[codes.isna(), "event_type"].iloc[0]
        raise DataError(f"{name}: event type {bad!r} is not in events.yaml")
    times_ms = frame["timestamp_ms"].to_numpy(np.int64)
    arrived_ms = times_ms
    if "received_ms" in frame:
        received_ms = frame["received_ms"].to_numpy(np.float64, na_value=0.0)
        arrived_ms = np.where(received_ms > 0, received_ms, times_ms).astype(np.int64)
    return TrainingData(
        name=name,
        user_id_type=id_types[0],
        item_id_type=id_types[1],
        types=types,
        users=users,
        items=items,
        user=users.encode(frame["user_id"]),
        item=items.encode(frame["item_id"]),
        times_ms=times_ms,
        codes=codes.to_numpy(np.uint8),
        values=frame["value"].to_numpy(np.float32, na_value=np.nan),
        arrived_ms=arrived_ms,
        turn=total_order(times_ms, arrived_ms),
        log_events=log_events,
        unknown_types=unknown_types,
        fingerprint=fingerprint,
        simulated_left_out=simulated_left_out,
    )


def total_order(times_ms: np.ndarray, arrived_ms: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n,) int64 turns, 0 to n - 1: by arrival, ties by a seeded random number.

    An event that arrived more than a day after it happened was imported or replayed, so its own time is taken for its
    arrival: otherwise a history that came as one file would have happened in one moment.
    """
    placed_ms = np.where(arrived_ms - times_ms < _LATE_MS, np.maximum(arrived_ms, times_ms), times_ms)
    return places(np.lexsort((np.random.default_rng(seed).random(len(times_ms)), placed_ms)))


def places(order: np.ndarray) -> np.ndarray:
    """(n,) int64: at which place of `order`, which holds the numbers 0 to n - 1, each of them stands."""
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order))
    return found

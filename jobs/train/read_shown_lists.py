"""Lists that were shown, with what came of them, from the offline log: what a ranker can learn from beside past events.

An item of a list was taken up where an event of its user names the list (`recommendation_id`) and the item, means
interest (`experiments.attribution.CLICK`: not a refusal), and came within the attribution window. Lists of which
nothing was taken up teach a ranker nothing and are left out, and so are simulated lists (unless training learns from
simulated events) and forced ones.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from configs.settings import Settings
from data.event_log import EventLog
from experiments.attribution import CLICK, event_goals
from models.ranking.features import moment
from models.training.shown_lists import DEEPEST, ShownLists, stack
from models.training.training_data import TrainingData


def read_shown_lists(settings: Settings, data: TrainingData, boundary_ms: float, most: int) -> ShownLists:
    """Lists of which something was taken up: the latest `most` made up to `boundary_ms`, and as many made later.

    Args:
        data: in store order (`models.training.past_requests.in_store_order`); its vocabularies say which users
            and items are known.

    Raises:
        DataError: a part of the log cannot be read.
    """
    log = EventLog(settings.log_dir)
    outcomes = _outcomes(log, data)
    wanted = pa.array(list(outcomes), pa.string())
    by_id: dict[str, dict[str, Any]] = {}
    for table in log.tables("exposures"):
        for row in table.filter(pc.is_in(table["recommendation_id"], value_set=wanted)).to_pylist():
            if not row.get("forced") and (settings.training.simulated or not row["simulated"]):
                by_id[row["recommendation_id"]] = row
    rows = sorted(by_id.values(), key=lambda row: (row["time_ms"], row["recommendation_id"]), reverse=True)
    users = data.users.encode([row["user_id"] for row in rows])
    order = np.argsort(data.arrived_ms, kind="stable")
    arrived, newest = data.arrived_ms[order], np.maximum.accumulate(data.times_ms[order])
    found: list[ShownLists] = []
    room = {False: most, True: most}
    for row, user in zip(rows, users.tolist(), strict=True):
        taken = int(np.searchsorted(arrived, row["time_ms"]))
        at_ms = moment(float(row["time_ms"]), float(newest[taken - 1]) if taken else None)
        later = at_ms > boundary_ms
        if user < 0 or not room[later]:
            continue
        one = _list_of(
            row, user, at_ms, outcomes[row["recommendation_id"]], data, settings.store.attribution_window_s * 1000
        )
        if one is not None:
            found.append(one)
            room[later] -= 1
    return stack(found[::-1])


def _outcomes(log: EventLog, data: TrainingData) -> dict[str, list[tuple[str, str, int, int]]]:
    """list -> (user, item, when the store took it, when it happened) of events that name it and mean interest."""
    meaning = lru_cache(maxsize=65_536)(lambda name, value: event_goals(data.types, name, value))
    columns = ("user_id", "item_id", "received_ms", "timestamp_ms", "recommendation_id", "event_type", "value")
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    for table in log.tables("events"):
        named = table.filter(pc.is_valid(table["recommendation_id"]))
        for *event, list_id, kind, value in zip(*(named[name].to_pylist() for name in columns), strict=True):
            if list_id and kind in data.types.by_name and meaning(kind, value) & CLICK:
                user_id, item_id, received_ms, said_ms = event
                found.setdefault(list_id, []).append((user_id, item_id, received_ms, said_ms))
    return found


def _list_of(
    row: dict[str, Any],
    user: int,
    at_ms: float,
    outcomes: list[tuple[str, str, int, int]],
    data: TrainingData,
    window_ms: int,
) -> ShownLists | None:
    """One list; None where nothing can be learned from it."""
    item_ids = row["item_ids"][:DEEPEST]
    items, taken = np.full((1, DEEPEST), -1, np.int64), np.zeros((1, DEEPEST), bool)
    items[0, : len(item_ids)] = data.items.encode(item_ids)
    settled_ms = at_ms
    for user_id, item_id, received_ms, said_ms in outcomes:
        # One that says it is older than its list would be a part of the history that its own features come from.
        late = received_ms - row["time_ms"] > window_ms or said_ms <= at_ms
        if user_id == row["user_id"] and item_id in item_ids and not late:
            taken[0, item_ids.index(item_id)] = True
            settled_ms = max(settled_ms, float(said_ms))
    taken &= items >= 0
    if not taken.any() or (taken == (items >= 0)).all():
        return None
    propensity = np.ones((1, DEEPEST))
    if row["propensities"] is not None:
        propensity[0, : len(item_ids)] = row["propensities"][:DEEPEST]
    context = orjson.loads(row["context"]) if row["context"] else {}
    device = context.get("device")
    return ShownLists(
        np.array([user], np.int64),
        np.array([float(row["time_ms"])]),
        np.array([at_ms]),
        np.array([settled_ms]),
        items,
        taken,
        propensity,
        [device if isinstance(device, str) else None],
    )

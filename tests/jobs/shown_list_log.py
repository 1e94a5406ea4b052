"""Lists of an old model and what users took up of them, written into an offline log."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from configs.settings import Settings
from data.event_log import EventLog
from data.log_tables import SCHEMAS


def write_log(settings: Settings, lists: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> None:
    """Add rows to the log; what is left out has an ordinary value."""
    log = EventLog(settings.log_dir)
    shown = [
        {
            "context": None,
            "simulated": False,
            "forced": False,
            "propensities": None,
            "stream_id": f"{n + 1}-0",
            "partition": 0,
            **row,
        }
        for n, row in enumerate(lists)
    ]
    told = [
        {
            "event_id": f"e{n}",
            "event_type": "like",
            "value": None,
            "received_ms": row["timestamp_ms"],
            "stream_id": f"{n + 1}-0",
            "partition": 0,
            **row,
        }
        for n, row in enumerate(events)
    ]
    log.write_part("exposures", 0, pa.Table.from_pylist(shown, SCHEMAS["exposures"]))
    log.write_part("events", 0, pa.Table.from_pylist(told, SCHEMAS["events"]))


def browsing(
    users: Sequence[str],
    items: Sequence[str],
    old_order: np.ndarray,
    appeal: np.ndarray,
    n: int,
    start_ms: int,
    step_ms: int,
    seed: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """n lists of ten with the events that followed.

    The old model orders a random part of the items by `old_order`, with some noise; users look at place r with chance
    1 / r, and take up what they look at with the chance `appeal`. As often as they are shown a list, they find an item
    by themselves, with a chance in proportion to its appeal.
    """
    generator = np.random.default_rng(seed)
    lists, events = [], []
    for number in range(n):
        part = generator.choice(len(items), min(25, len(items)), replace=False)
        heat = old_order[part] + 0.5 * old_order.std() * generator.normal(size=len(part))
        shown = part[np.argsort(-heat)][:10]
        time_ms, user = start_ms + number * step_ms, users[int(generator.integers(len(users)))]
        named = {"user_id": user, "recommendation_id": f"r{number:06d}"}
        lists.append({**named, "time_ms": time_ms, "item_ids": [items[item] for item in shown]})
        taken = generator.random(len(shown)) < appeal[shown] / np.arange(1, len(shown) + 1)
        for place in np.flatnonzero(taken).tolist():
            said_ms = time_ms + step_ms // 2
            events.append({**named, "item_id": items[shown[place]], "timestamp_ms": said_ms})
        own = {"recommendation_id": None, "user_id": users[int(generator.integers(len(users)))]}
        item = items[int(generator.choice(len(items), p=appeal / appeal.sum()))]
        events.append({**own, "item_id": item, "timestamp_ms": time_ms + step_ms // 3})
    return lists, events

"""What experiments have counted, computed anew from lists and events of the log and the streams."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from data.log_tables import Kind, stream_id
from experiments.attribution import Rule, UserReplay
from features.recording.online_store import OnlineStore
from features.users.erasure import Erasures

_Moment = tuple[int, bool, int]
"""Time in ms, whether it is a list, number in its stream. Events come before lists of the same ms."""


class PartitionReplay:
    """Rows of one partition, in any order of kinds; `users` puts them into the order of the store.

    Of the log, only events of users who are in an experiment are kept, so its lists have to be added before.

    Args:
        store: its settings and event types give the rule.
        rule: the limits of `experiments.attribution`.
        ends: experiment -> the last moment that counts, for those that were stopped.
        erasures: users whose rows do not count.
    """

    def __init__(self, store: OnlineStore, rule: Rule, ends: Mapping[str, int], erasures: Erasures) -> None:
        self._store = store
        self._rule = rule
        self._ends = ends
        self._erasures = erasures
        self._rows: dict[str, list[tuple[_Moment, dict[str, Any]]]] = {}

    def add(self, kind: Kind, rows: Iterable[dict[str, Any]], known_only: bool = False) -> None:
        """Take rows of the log's schema.

        Args:
            known_only: leave out users of whom no list was added.
        """
        for row in rows:
            user_id = row["user_id"]
            if kind == "exposures" and row["experiment"] is None and not row.get("forced"):
                continue
            if known_only and kind == "events" and user_id not in self._rows:
                continue
            time_ms, number = stream_id(row["stream_id"])
            if not self._erasures.covers(user_id, time_ms):
                self._rows.setdefault(user_id, []).append(((time_ms, kind == "exposures", number), row))

    def known(self) -> set[str]:
        """Users of whom a row was added."""
        return set(self._rows)

    def users(self) -> dict[str, UserReplay]:
        """user -> what the experiments have counted, or which forced lists are remembered."""
        replays = {user_id: self._replay(rows) for user_id, rows in self._rows.items()}
        return {user_id: replay for user_id, replay in replays.items() if replay.totals or replay.lists}

    def _replay(self, rows: list[tuple[_Moment, dict[str, Any]]]) -> UserReplay:
        replay = UserReplay(self._rule, self._ends)
        for (time_ms, is_list, _), row in sorted(rows, key=lambda pair: pair[0]):
            if is_list and row.get("forced"):
                replay.expose_forced(row["recommendation_id"], time_ms)
                continue
            if is_list:
                replay.expose(
                    row["experiment"],
                    row["variant"],
                    row["recommendation_id"],
                    time_ms,
                    row["item_ids"],
                    row.get("before") or 0,
                    row["simulated"],
                )
                continue
            name, value = row["event_type"], row["value"]
            goals = self._store.goals(name, value)
            rating = None if value is None else struct.unpack("<f", struct.pack("<f", value))[0]
            replay.event(time_ms, row["item_id"], row["timestamp_ms"], row["recommendation_id"] or None, goals, rating)
        return replay

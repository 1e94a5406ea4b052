"""An experiment's rows of single users, from the log and the streams, a page at a time.

A page is made in two passes over one partition, each in small portions: which users come next, and then the lists and
events of these alone, replayed by the rule of `experiments.attribution`. So memory holds a portion and the rows of one
page's users, however much there is. All work but waiting for the store is done in a thread: the event loop of this
replica answers everybody else meanwhile. One page is made at a time, and who asks together waits in turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from configs.settings import Settings
from data.event_log import EventLog
from data.log_tables import Entry, Kind, entries_table
from features.experiments.changes import known
from features.experiments.counts import rule_of
from features.experiments.experiment import ExperimentError
from features.experiments.recount import PartitionReplay
from features.recording.online_store import OnlineStore
from features.serving.serving_state import ServingState
from features.streams.drain import read_entries
from features.users.erasure import read_erasures

PORTION = 2_000
"""Entries of a stream that are read and looked at together."""
COLUMNS: dict[Kind, list[str]] = {
    "exposures": [
        "user_id", "experiment", "variant", "recommendation_id", "item_ids", "before", "simulated", "forced",
        "stream_id",
    ],
    "events": ["user_id", "event_type", "value", "item_id", "timestamp_ms", "recommendation_id", "stream_id"],
}  # fmt: skip
"""What the rule asks for."""
_LISTS_FIRST: tuple[Kind, ...] = ("exposures", "events")


class UserRows:
    """Reads the counts of single users from the log, page by page.

    Args:
        settings: where the log is, and how long after a list an event counts for it.
        store: the online store.
    """

    def __init__(self, settings: Settings, store: OnlineStore) -> None:
        self._rule = rule_of(settings.store)
        self._store = store
        self._client, self._keys = store.client, store.keys
        self._log = EventLog(settings.log_dir)
        self._turn = asyncio.Lock()

    async def page(
        self, state: ServingState, experiment: str, cursor: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """One row for each user, by partition and id.

        Returns:
            The rows, and where the next page begins; None after the last one.

        Raises:
            ExperimentError: no such experiment, or a cursor that is none.
        """
        known(state, experiment)
        partition, after = _cursor(cursor, self._keys.partitions)
        rows: list[dict[str, Any]] = []
        async with self._turn:
            while partition < self._keys.partitions:
                wanted = limit - len(rows) + 1
                users = await self._next_users(experiment, partition, after, wanted)
                found = await self._replayed(experiment, partition, users, state)
                for user_id in users:
                    if user_id in found and len(rows) == limit:
                        return rows, f"{partition}:{after}"
                    after = user_id
                    if user_id in found:
                        rows.append({"user_id": user_id, **found[user_id]})
                if len(users) < wanted:
                    partition, after = partition + 1, ""
        return rows, None

    async def _next_users(self, experiment: str, partition: int, after: str, wanted: int) -> list[str]:
        """The next users of a partition who were shown a list of the experiment, in order."""
        least: set[str] = set()

        def keep(table: pa.Table) -> None:
            mine = table.filter(pc.equal(table["experiment"], experiment))
            least.update(user_id for user_id in pc.unique(mine["user_id"]).to_pylist() if user_id > after)
            if len(least) > 4 * wanted:
                kept = sorted(least)[:wanted]
                least.clear()
                least.update(kept)

        async for entries in self._portions("exposures", partition):
            await asyncio.to_thread(lambda portion: keep(_table("exposures", portion, partition)), entries)
        await asyncio.to_thread(self._each_logged, "exposures", partition, keep)
        return sorted(least)[:wanted]

    async def _replayed(
        self, experiment: str, partition: int, users: list[str], state: ServingState
    ) -> dict[str, dict[str, Any]]:
        """user -> totals, of the given users."""
        if not users:
            return {}
        ends = {one.id: one.ended_ms for one in state.experiments.values() if one.ended_ms is not None}
        replay = PartitionReplay(
            self._store, self._rule, ends, await read_erasures(self._client, self._keys, self._log.log_dir)
        )
        chosen = pa.array(users)

        def rows_of(table: pa.Table) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = table.filter(pc.is_in(table["user_id"], chosen)).to_pylist()
            return found

        def streamed_rows(kind: Kind, entries: list[Entry]) -> list[dict[str, Any]]:
            return rows_of(_table(kind, entries, partition))

        for kind in _LISTS_FIRST:
            # The stream first: what a compaction moves in between is then found in both, instead of in neither.
            streamed: list[dict[str, Any]] = []
            async for entries in self._portions(kind, partition):
                streamed += await asyncio.to_thread(streamed_rows, kind, entries)
            await asyncio.to_thread(self._add, replay, kind, partition, rows_of, streamed)
        totals = await asyncio.to_thread(replay.users)
        return {user_id: vars(one.totals[experiment]) for user_id, one in totals.items() if experiment in one.totals}

    def _add(
        self,
        replay: PartitionReplay,
        kind: Kind,
        partition: int,
        rows_of: Callable[[pa.Table], list[dict[str, Any]]],
        streamed: list[dict[str, Any]],
    ) -> None:
        """Give the rows of log and stream to the replay, each once."""
        logged: set[str] = set()

        def add(table: pa.Table) -> None:
            rows = rows_of(table)
            logged.update(row["stream_id"] for row in rows)
            replay.add(kind, rows)

        self._each_logged(kind, partition, add)
        replay.add(kind, [row for row in streamed if row["stream_id"] not in logged])

    def _each_logged(self, kind: Kind, partition: int, use: Callable[[pa.Table], None]) -> None:
        for table in self._log.tables(kind, partition):
            use(table.select(COLUMNS[kind]))

    async def _portions(self, kind: Kind, partition: int) -> AsyncIterator[list[Entry]]:
        stream = self._keys.events(partition) if kind == "events" else self._keys.exposures(partition)
        start = "-"
        while entries := await read_entries(self._client, stream, start, "+", PORTION):
            yield entries
            start = f"({entries[-1][0]}"


def _table(kind: Kind, entries: list[Entry], partition: int) -> pa.Table:
    return entries_table(kind, entries, partition).select(COLUMNS[kind])


def _cursor(cursor: str | None, partitions: int) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    number, separator, user_id = cursor.partition(":")
    if not (separator and number.isascii() and number.isdigit() and int(number) < partitions):
        raise ExperimentError("invalid", f"cursor: {cursor!r} is none that this interface gave out", "cursor")
    return int(number), user_id

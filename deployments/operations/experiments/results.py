"""What experiments found: results from their sums, over time, and user by user."""

import asyncio
from typing import Any

from configs.clock import now_ms
from configs.settings import Settings
from data.event_log import EventLog
from data.log_tables import KINDS, Kind, entry_row
from experiments.report import Design, Report, compare_all, report, value_of
from experiments.user_metrics import METRICS
from experiments.user_totals import add_sums
from features.experiments.changes import known
from features.experiments.counts import read_sums, rule_of
from features.experiments.experiment import Experiment, ExperimentError
from features.experiments.recount import PartitionReplay
from features.experiments.series import read_series
from features.experiments.steps import changed_slot, running
from features.recording.online_store import OnlineStore
from features.serving.serving_state import ServingState, read_state
from features.streams.drain import read_entries
from features.users.erasure import read_erasures

STREAM_PAGE = 1_000_000


class ExperimentResults:
    """Reads results.

    Args:
        settings: where the log is, and how long after a list an event counts for it.
        store: the online store.
    """

    def __init__(self, settings: Settings, store: OnlineStore) -> None:
        self._settings = settings
        self._store = store
        self._client, self._keys = store.client, store.keys
        self._log = EventLog(settings.log_dir)

    async def of(self, experiment: str) -> tuple[Experiment, Report]:
        """An experiment with all results that follow from its sums as they stand. Raises `ExperimentError`."""
        state = await read_state(self._client, self._keys)
        found = known(state, experiment)
        sums = await read_sums(self._client, self._keys, found.id, found.names)
        return found, report(design_of(found), sums, days_of(found), notes_of(found, state))

    async def latest(self) -> Experiment | None:
        """The experiment that runs, else the one that was stopped last."""
        state = await read_state(self._client, self._keys)
        if found := running(state):
            return found[-1]
        ended = [one for one in state.experiments.values() if one.started_ms is not None]
        return max(ended, key=lambda one: one.ended_ms or 0, default=None)

    async def series(self, experiment: str, metric: str, limit: int) -> list[dict[str, Any]]:
        """Values and differences of one metric as they grew. Raises `ExperimentError`."""
        if metric not in METRICS:
            raise ExperimentError(
                "invalid", f"metric: no such metric {metric!r}; there are {', '.join(METRICS)}", "metric"
            )
        found = known(await read_state(self._client, self._keys), experiment)
        design = design_of(found, metric)
        points = []
        for snapshot in await read_series(self._client, self._keys, experiment, limit):
            sums = {name: add_sums([snapshot.sums.get(name, {})]) for name in found.names}
            points.append(
                {
                    "time_ms": snapshot.time_ms,
                    "variants": {
                        name: {"users": sums[name]["n"], **vars(value_of(METRICS[metric], sums[name], design.alpha))}
                        for name in found.names
                    },
                    "comparisons": {one.variant: vars(one.decides) for one in compare_all(design, sums)},
                }
            )
        return points

    async def users(self, experiment: str, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """One row for each user, computed from the log, a page at a time.

        Returns:
            The rows, and where the next page begins; None after the last one.

        Raises:
            ExperimentError: no such experiment, or a cursor that is none.
        """
        state = await read_state(self._client, self._keys)
        found = known(state, experiment)
        partition, after = _cursor(cursor, self._keys.partitions)
        rows: list[dict[str, Any]] = []
        while partition < self._keys.partitions:
            for user_id, totals in await self._partition_users(found, partition, state):
                if user_id <= after:
                    continue
                if len(rows) == limit:
                    return rows, f"{partition}:{rows[-1]['user_id'] if _in(rows, partition, self._keys) else ''}"
                rows.append({"user_id": user_id, **totals})
            partition, after = partition + 1, ""
        return rows, None

    async def _partition_users(
        self, experiment: Experiment, partition: int, state: ServingState
    ) -> list[tuple[str, dict[str, Any]]]:
        ends = {one.id: one.ended_ms for one in state.experiments.values() if one.ended_ms is not None}
        erasures = await read_erasures(self._client, self._keys)
        replay = PartitionReplay(self._store, rule_of(self._settings.store), ends, erasures)
        for kind in KINDS[::-1]:
            stream = self._keys.events(partition) if kind == "events" else self._keys.exposures(partition)
            # The stream first: what a compaction moves in between is then found in both, instead of in neither.
            entries = await read_entries(self._client, stream, "-", "+", STREAM_PAGE)
            tables = await asyncio.to_thread(self._logged_rows, kind, partition)
            logged = {row["stream_id"] for rows in tables for row in rows}
            for rows in tables:
                replay.add(kind, rows)
            replay.add(kind, [entry_row(kind, entry, partition) for entry in entries if entry[0] not in logged])
        users = replay.users().items()
        return sorted((user, vars(one.totals[experiment.id])) for user, one in users if experiment.id in one.totals)

    def _logged_rows(self, kind: Kind, partition: int) -> list[list[dict[str, Any]]]:
        return [table.to_pylist() for table in self._log.tables(kind, partition)]


def design_of(experiment: Experiment, primary: str | None = None) -> Design:
    """The design of an experiment: what was fixed before anybody looked at results."""
    periods = [(period.users, tuple(period.weights)) for period in experiment.periods]
    return Design(
        variants=tuple(experiment.names),
        periods=tuple(periods) or ((0, tuple(experiment.weights)),),
        primary=primary or experiment.primary_metric,
        metrics=tuple(dict.fromkeys((experiment.primary_metric, *experiment.metrics))) if primary is None else (),
        guardrails=tuple((one.metric, one.margin) for one in experiment.guardrails) if primary is None else (),
        always_valid=experiment.method == "always_valid",
        alpha=experiment.alpha,
        planned_effect=experiment.planned_effect,
        planned_users=experiment.planned_users,
        power=experiment.power,
        minimum_days=experiment.minimum_days,
        minimum_users=experiment.minimum_users,
        maximum_days=experiment.maximum_days,
        bandit=experiment.bandit is not None,
    )


def days_of(experiment: Experiment) -> float:
    """How long an experiment has run, in days."""
    if experiment.started_ms is None:
        return 0.0
    return max(0, min(now_ms(), experiment.ended_ms or 2**53) - experiment.started_ms) / 86_400_000


def notes_of(experiment: Experiment, state: ServingState) -> list[str]:
    """What a reader of the results should know of the experiment's state, in words."""
    if experiment.status == "draft":
        return ["it has not been started"]
    if experiment.status == "running":
        problem = changed_slot(experiment, {name: slot.version for name, slot in state.slots.items()})
        if problem is not None:
            return [f"suspended, no users are let in: {problem}"]
    return []


def _cursor(cursor: str | None, partitions: int) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    number, separator, user_id = cursor.partition(":")
    if not (separator and number.isascii() and number.isdigit() and int(number) < partitions):
        raise ExperimentError("invalid", f"cursor: {cursor!r} is none that this interface gave out", "cursor")
    return int(number), user_id


def _in(rows: list[dict[str, Any]], partition: int, keys: Any) -> bool:
    return bool(rows) and keys.partition_of(rows[-1]["user_id"]) == partition

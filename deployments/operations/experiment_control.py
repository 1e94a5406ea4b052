"""What the console does with experiments: their life, their results, and keeping the models that they compare awake."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from configs import clock
from configs.settings import Settings
from data.event_log import EventLog
from data.log_tables import KINDS, Kind, entry_row
from deployments.http.errors import ApiError
from experiments.report import Design, Report, compare_all, report, value_of
from experiments.user_metrics import METRICS
from experiments.user_totals import add_sums
from features.experiments.counts import read_sums, rule_of, write_ends
from features.experiments.experiment import (
    Definition,
    Experiment,
    ExperimentChange,
    ExperimentError,
    TrafficState,
    change_experiment,
    create_experiment,
    known,
    read_changes,
    read_traffic,
)
from features.experiments.recount import PartitionReplay
from features.experiments.series import add_snapshot, due, last_snapshot_ms, read_series
from features.experiments.steps import (
    archive,
    changed_slot,
    check_start,
    promoted,
    resolve_slots,
    running,
    start,
    stop,
    winner_of,
)
from features.recording.online_store import OnlineStore
from features.serving.promotion import AlreadyServedError, PromotionError, promote
from features.serving.rollout import Rollout, RolloutError, set_rollout
from features.serving.slots import CHALLENGER, CHAMPION
from features.streams.drain import read_entries
from features.users.erasure import read_erasures

logger = logging.getLogger("ray.serve")
LOAD_S = 60.0
"""How long a start waits for the challenger's replicas, which are scaled to zero while nothing needs them."""
HOLD_S = 20.0
STREAM_PAGE = 1_000_000
AskVersion = Callable[[str], Awaitable[str | None]]
Hold = Callable[[str, float], Awaitable[None]]


class ExperimentControl:
    """Experiments, for people and programs.

    Args:
        settings: of the platform.
        store: the online store.
        ask_version: slot -> the version that its `Retrieval` serves; wakes it where it is scaled to zero.
        hold: keeps a slot's `Retrieval` busy for some seconds, so that it is not scaled to zero.
    """

    def __init__(self, settings: Settings, store: OnlineStore, ask_version: AskVersion, hold: Hold) -> None:
        self.settings = settings
        self._store = store
        self._client, self._keys = store.client, store.keys
        self._log = EventLog(settings.log_dir)
        self._ask_version = ask_version
        self._hold = hold
        self._state = TrafficState(version=-1, experiments={}, slots={}, rollout=None)
        self._holding: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Take over what changed: slots in use are kept awake, ends are known to every partition."""
        self._state = await read_traffic(self._client, self._keys)
        ended = [one for one in self._state.experiments.values() if one.status == "stopped"]
        await write_ends(self._client, self._keys, {one.id: one.ended_ms for one in ended if one.ended_ms is not None})
        wanted = slots_in_use(self._state) - {CHAMPION}
        for slot in wanted - self._holding.keys():
            # In a context of its own: see `MicroBatcher.ask`.
            self._holding[slot] = asyncio.get_running_loop().create_task(
                self._keep_awake(slot), context=contextvars.Context()
            )
        for slot in self._holding.keys() - wanted:
            self._holding.pop(slot).cancel()

    async def tick(self) -> None:
        """Keep snapshots of running experiments, for plots over time."""
        now_ms = _now_ms()
        for experiment in running(self._state):
            last_ms = await last_snapshot_ms(self._client, self._keys, experiment.id)
            if due(experiment.started_ms or now_ms, now_ms, last_ms):
                sums = await read_sums(self._client, self._keys, experiment.id, experiment.names)
                await add_snapshot(self._client, self._keys, experiment.id, now_ms, sums)

    async def create(self, definition: Definition) -> Experiment:
        """A draft. Raises `ExperimentError`."""
        return await create_experiment(self._client, self._keys, definition, _now_ms())

    async def all(self) -> list[Experiment]:
        """The newest first."""
        state = await read_traffic(self._client, self._keys)
        return list(state.experiments.values())[::-1]

    async def one(self, experiment: str) -> tuple[Experiment, list[ExperimentChange]]:
        """An experiment with its changes. Raises `ExperimentError`."""
        found = known(await read_traffic(self._client, self._keys), experiment)
        return found, await read_changes(self._client, self._keys, experiment)

    async def start(self, experiment: str, reason: str) -> Experiment:
        """Let it decide on traffic, once every model that it compares is loaded.

        Raises:
            ExperimentError: it cannot start; 503 ApiError: a model was not loaded in time.
        """
        state = await read_traffic(self._client, self._keys)
        found = known(state, experiment)
        check_start(found, state)
        slots, wanted = resolve_slots(found, state)
        for slot, version in wanted.items():
            if slot in slots_in_use(state):
                raise ExperimentError("conflict", f"the slot {slot} is in use, so {version} has no place")
            await _promote(self._store, self.settings, version, f"experiment {experiment}", slot)
        state = await read_traffic(self._client, self._keys)
        for slot in dict.fromkeys(slots.values()):
            await self._wait_for(slot, state.slots[slot].version)
        now_ms = _now_ms()
        return await change_experiment(
            self._client, self._keys, experiment, lambda one, now: start(one, now, now_ms), "started", reason, now_ms
        )

    async def stop(self, experiment: str, reason: str) -> Experiment:
        """End it. Raises `ExperimentError`."""
        now_ms = _now_ms()
        done = await change_experiment(
            self._client, self._keys, experiment, lambda one, _: stop(one, now_ms, reason), "stopped", reason, now_ms
        )
        await write_ends(self._client, self._keys, {done.id: done.ended_ms or now_ms})
        sums = await read_sums(self._client, self._keys, done.id, done.names)
        await add_snapshot(self._client, self._keys, done.id, now_ms, sums)
        return done

    async def archive(self, experiment: str, reason: str) -> Experiment:
        """Put it away. Raises `ExperimentError`."""
        return await change_experiment(
            self._client, self._keys, experiment, lambda one, _: archive(one), "archived", reason, _now_ms()
        )

    async def promote(self, experiment: str, variant: str | None, reason: str) -> Experiment:
        """Let the winner's version be the champion.

        Raises:
            ExperimentError: it is not stopped, or nobody has won; its version cannot be served.
        """
        found, results = await self.results(experiment)
        winner = winner_of(found, variant, results.decision.winner)
        version = found.versions[winner]
        text = f"experiment {experiment}: {winner}; {reason}"
        try:
            await _promote(self._store, self.settings, version, text, CHAMPION)
        except AlreadyServedError:
            logger.info("%s, the winner of %s, is the champion already", version, experiment)
        now_ms = _now_ms()
        return await change_experiment(
            self._client, self._keys, experiment, lambda one, _: promoted(one, winner), "promoted", text, now_ms
        )

    async def roll_out(self, share: float, version: str | None, reason: str) -> Rollout | None:
        """Give the challenger a share of the traffic, with another version in its slot first where one is named.

        Raises:
            RolloutError: not possible now. ApiError 503: the model was not loaded in time.
        """
        state = await read_traffic(self._client, self._keys)
        if version is not None and (CHALLENGER not in state.slots or state.slots[CHALLENGER].version != version):
            if CHALLENGER in slots_in_use(state):
                raise RolloutError(f"version: the slot {CHALLENGER} is in use; end what uses it first")
            try:
                await _promote(self._store, self.settings, version, f"rollout: {reason}", CHALLENGER)
            except ExperimentError as error:
                raise RolloutError(str(error)) from error
            state = await read_traffic(self._client, self._keys)
        if share > 0 and CHALLENGER in state.slots:
            await self._wait_for(CHALLENGER, state.slots[CHALLENGER].version)
        return await set_rollout(self._client, self._keys, share, reason, _now_ms())

    async def results(self, experiment: str) -> tuple[Experiment, Report]:
        """Everything that the sums say now. Raises `ExperimentError`."""
        state = await read_traffic(self._client, self._keys)
        found = known(state, experiment)
        sums = await read_sums(self._client, self._keys, found.id, found.names)
        return found, report(design_of(found), sums, days_of(found), notes_of(found, state))

    async def latest(self) -> Experiment | None:
        """The experiment that runs, else the one that was stopped last."""
        state = await read_traffic(self._client, self._keys)
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
        found = known(await read_traffic(self._client, self._keys), experiment)
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
        state = await read_traffic(self._client, self._keys)
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
        self, experiment: Experiment, partition: int, state: TrafficState
    ) -> list[tuple[str, dict[str, Any]]]:
        ends = {one.id: one.ended_ms for one in state.experiments.values() if one.ended_ms is not None}
        erasures = await read_erasures(self._client, self._keys)
        replay = PartitionReplay(self._store, rule_of(self.settings.store), ends, erasures)
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

    async def _wait_for(self, slot: str, version: str) -> None:
        """Until the slot's `Retrieval` answers with the version. Raises ApiError 503."""
        serving = None
        try:
            async with asyncio.timeout(LOAD_S):
                while (serving := await self._ask_version(slot)) != version:  # noqa: ASYNC110 - it is elsewhere
                    await asyncio.sleep(self.settings.serving.watch_s)
        except TimeoutError:
            message = f"the slot {slot} serves {serving or 'no model'} and not yet {version}; nothing was started"
            raise ApiError(503, "model_not_loaded", message, retry_after_s=10) from None

    async def _keep_awake(self, slot: str) -> None:
        while True:
            try:
                await self._hold(slot, HOLD_S)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try is due; a replica may be starting
                logger.warning("the slot %s cannot be kept awake, trying on: %r", slot, error)
                await asyncio.sleep(1.0)


def slots_in_use(state: TrafficState) -> set[str]:
    """Slots to which running experiments or the rollout send traffic."""
    used = {slot for one in running(state) for slot in one.slots.values()}
    return used | ({CHALLENGER} if state.rollout is not None else set())


def design_of(experiment: Experiment, primary: str | None = None) -> Design:
    """What was fixed before the first look."""
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
    """How long it has run."""
    if experiment.started_ms is None:
        return 0.0
    return max(0, min(_now_ms(), experiment.ended_ms or 2**53) - experiment.started_ms) / 86_400_000


def notes_of(experiment: Experiment, state: TrafficState) -> list[str]:
    """What the reader of the results should know of its state."""
    if experiment.status == "draft":
        return ["it has not been started"]
    if experiment.status == "running":
        problem = changed_slot(experiment, {name: slot.version for name, slot in state.slots.items()})
        if problem is not None:
            return [f"suspended, no users are let in: {problem}"]
    return []


async def _promote(store: OnlineStore, settings: Settings, version: str, reason: str, slot: str) -> None:
    try:
        await promote(store.client, store.keys, settings.bundles_dir, version, reason, slot)
    except AlreadyServedError:
        raise
    except PromotionError as error:
        raise ExperimentError("conflict", f"version: {error}", "version") from error


def _cursor(cursor: str | None, partitions: int) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    number, separator, user_id = cursor.partition(":")
    if not (separator and number.isascii() and number.isdigit() and int(number) < partitions):
        raise ExperimentError("invalid", f"cursor: {cursor!r} is none that this interface gave out", "cursor")
    return int(number), user_id


def _in(rows: list[dict[str, Any]], partition: int, keys: Any) -> bool:
    return bool(rows) and keys.partition_of(rows[-1]["user_id"]) == partition


def _now_ms() -> int:
    return clock.now_ms()

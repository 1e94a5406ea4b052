"""What experiments found: results from their sums, over time, and user by user."""

import asyncio
from collections.abc import Sequence
from typing import Any

from configs.clock import now_ms
from configs.settings import Settings
from deployments.http.schemas import iso_time
from deployments.operations.experiments.user_rows import UserRows
from experiments.design import Design
from experiments.report import Report, compare_all, reading_due, report, value_of
from experiments.user_metrics import METRICS
from experiments.user_totals import VariantSums, add_sums
from features.experiments.changes import change_experiment, known
from features.experiments.counts import read_sums
from features.experiments.experiment import Experiment, ExperimentError, Reading
from features.experiments.series import SeriesPoint, read_series
from features.experiments.steps import changed_slot, elders_of, read_once, running, share_left
from features.recording.online_store import OnlineStore
from features.serving.serving_state import PLAN, ServingState, read_state


class ExperimentResults:
    """Reads results.

    Args:
        settings: where the log is, and how long after a list an event counts for it.
        store: the online store.
    """

    def __init__(self, settings: Settings, store: OnlineStore) -> None:
        self._store = store
        self._client, self._keys = store.client, store.keys
        self._rows = UserRows(settings, store)

    async def of(self, experiment: str) -> tuple[Experiment, Report]:
        """An experiment with all results that follow from its sums as they stand. Raises `ExperimentError`."""
        state = await read_state(self._client, self._keys)
        found = known(state, experiment)
        sums = await read_sums(self._client, self._keys, found.id, found.names)
        design, days, notes = design_of(found), days_of(found), notes_of(found, state)
        if not design.always_valid and found.reading is None and reading_due(design, sums, days):
            found = await self._read_once(found, sums)
        if found.reading is not None:
            sums = {name: add_sums([found.reading.sums.get(name, {})]) for name in found.names}
            days = (found.reading.time_ms - (found.started_ms or found.reading.time_ms)) / 86_400_000
            notes.append(f"read once, as planned, at {iso_time(found.reading.time_ms)}; later users change nothing")
        return found, report(design, sums, days, notes)

    async def _read_once(self, experiment: Experiment, sums: dict[str, VariantSums]) -> Experiment:
        """The experiment with what a fixed-sample test is read from; whoever looks first when it is due decides."""
        small = {variant: {name: value for name, value in found.items() if value} for variant, found in sums.items()}
        time_ms = min(now_ms(), experiment.ended_ms or 2**53)
        reading = Reading(time_ms=time_ms, sums=small)
        try:
            return await change_experiment(
                self._client, self._keys, experiment.id, lambda one, _: read_once(one, reading), "read",
                "its planned sample or its last day has come", time_ms, PLAN,
            )  # fmt: skip
        except ExperimentError:
            # Another replica has read it meanwhile.
            return known(await read_state(self._client, self._keys), experiment.id)

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
        snapshots = await read_series(self._client, self._keys, experiment, limit)
        # A thousand points of ten variants take seconds.
        return await asyncio.to_thread(_points, found, metric, snapshots)

    async def users(self, experiment: str, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """One row for each user, computed from the log, a page at a time.

        Returns:
            The rows, and where the next page begins; None after the last one.

        Raises:
            ExperimentError: no such experiment, or a cursor that is none.
        """
        state = await read_state(self._client, self._keys)
        return await self._rows.page(state, experiment, cursor, limit)


def _points(experiment: Experiment, metric: str, snapshots: Sequence[SeriesPoint]) -> list[dict[str, Any]]:
    design = design_of(experiment, metric)
    points = []
    for snapshot in snapshots:
        sums = {name: add_sums([snapshot.sums.get(name, {})]) for name in experiment.names}
        values = {name: value_of(METRICS[metric], sums[name], design.alpha) for name in experiment.names}
        points.append(
            {
                "time_ms": snapshot.time_ms,
                "variants": {name: {"users": sums[name]["n"], **vars(value)} for name, value in values.items()},
                "comparisons": {one.variant: vars(one.decides) for one in compare_all(design, sums)},
            }
        )
    return points


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
        sample_users=experiment.sample_users,
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
        elders = elders_of(experiment, state)
        if elders:
            names = ", ".join(one.id for one in elders)
            return [
                f"a list has one variant, whatever the group, and {names} began before: about "
                f"{share_left(elders):.0%} of the users whom this one may have are left to it"
            ]
    return []

"""The experiment in which a retrained model must beat the champion with live traffic. Every step may be repeated."""

import logging

from configs.settings import AutopilotLimits
from deployments.http.errors import ApiError
from deployments.operations.experiments.control import ExperimentControl
from deployments.operations.retraining import TrialEnd, trial_id
from features.experiments.experiment import Definition, Experiment, ExperimentError, Variant
from features.serving.run_record import Run, RunResult
from features.serving.serving_state import AUTOPILOT, StateConflictError
from features.serving.slots import CHALLENGER, CHAMPION

logger = logging.getLogger("ray.serve")
SHIP = "autopilot ships it"


class LiveTrial:
    """Runs the experiments that test retrained models, one for each run.

    Args:
        control: creates, starts, stops and reads experiments.
        limits: the share of users that get the new model, and when the experiment may be decided.
    """

    def __init__(self, control: ExperimentControl, limits: AutopilotLimits) -> None:
        self._control = control
        self._limits = limits

    async def begin(self, run: Run, result: RunResult) -> str | None:
        """Start the run's experiment, unless it runs. Returns what is in the way, None when nothing is."""
        try:
            found = await self._known(run)
            if found is None:
                found = await self._control.create(self._definition(run, result), AUTOPILOT)
            if found.status == "draft":
                await self._control.start(found.id, f"{run.run_id} passed the gate", AUTOPILOT)
        except (ExperimentError, StateConflictError, ApiError) as error:
            logger.warning("the experiment of %s does not start yet: %s", run.run_id, error)
            return str(error)
        return None

    async def look(self, run: Run) -> TrialEnd | None:
        """How the run's experiment ended, deciding it if it is time; None while it goes on."""
        found = await self._known(run)
        if found is None:
            return TrialEnd("waiting", "its experiment is gone; a person decides")
        if found.status == "running":
            _, report = await self._control.results.of(found.id)
            decision = report.decision
            if decision.action == "keep_running":
                return None
            if decision.action != "ship":
                await self._control.stop(found.id, f"autopilot ends it: {decision.reason}", AUTOPILOT)
                return TrialEnd("not_promoted", f"the experiment {found.id}: {decision.reason}")
            found = await self._control.stop(found.id, f"{SHIP}: {decision.reason}", AUTOPILOT)
        if found.promoted_version is not None:
            return TrialEnd("promoted", f"the experiment {found.id}: {found.reason}")
        if (found.reason or "").startswith(SHIP):
            try:
                await self._control.promote(found.id, CHALLENGER, "decided by its experiment", AUTOPILOT)
            except (ExperimentError, StateConflictError) as error:
                return TrialEnd("waiting", f"the experiment {found.id} was won, but: {error}")
            return TrialEnd("promoted", f"the experiment {found.id}: {found.reason}")
        return TrialEnd("not_promoted", f"the experiment {found.id} was ended: {found.reason}")

    async def health(self) -> dict[str, bool]:
        """Running experiments, whoever started them, each with whether its results may be read at all."""
        found = {}
        for experiment in await self._control.all():
            if experiment.status == "running":
                _, report = await self._control.results.of(experiment.id)
                found[experiment.id] = report.decision.action != "unhealthy"
        return found

    async def _known(self, run: Run) -> Experiment | None:
        try:
            return (await self._control.one(trial_id(run)))[0]
        except ExperimentError:
            return None

    def _definition(self, run: Run, result: RunResult) -> Definition:
        share = self._limits.canary_share
        return Definition(
            id=trial_id(run),
            hypothesis=f"{result.version} (retrained: {run.reason})"[:900] + " is clicked more than the champion",
            variants=[
                Variant(name=CHAMPION, weight=1 - share, slot=CHAMPION),
                Variant(name=CHALLENGER, weight=share, version=result.version),
            ],
            minimum_days=self._limits.trial_min_days,
            maximum_days=max(self._limits.trial_max_days, self._limits.trial_min_days),
            minimum_users=self._limits.trial_users,
        )

"""The life of experiments: created, started, stopped, promoted; and the models that they compare are kept awake."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable

from configs import clock
from configs.settings import Settings
from deployments.http.errors import ApiError
from deployments.operations.experiments.results import ExperimentResults, design_of
from deployments.operations.model_registry import ModelRegistry
from experiments.plan import needed_users
from experiments.user_totals import VariantSums
from features.experiments.changes import change_experiment, create_experiment, known, promote_winner, read_changes
from features.experiments.counts import read_sums, write_ends
from features.experiments.experiment import Definition, Experiment, ExperimentChange, ExperimentError
from features.experiments.series import add_snapshot, due, last_snapshot_ms
from features.experiments.steps import (
    archive,
    check_start,
    check_versions,
    fix_sample,
    resolve_slots,
    running,
    start,
    stop,
    winner_of,
)
from features.recording.online_store import OnlineStore
from features.serving.promotion import PromotionError, promote
from features.serving.rollout import RolloutError, set_rollout
from features.serving.serving_state import PERSON, PLAN, ServingState, read_state
from features.serving.slots import CHALLENGER, CHAMPION, Rollout
from models.bundle.reading import list_bundles

logger = logging.getLogger("ray.serve")
LOAD_S = 60.0
"""How long a start waits for the challenger's replicas, which are scaled to zero while nothing needs them."""
HOLD_S = 20.0
AskVersion = Callable[[str], Awaitable[str | None]]
Hold = Callable[[str, float], Awaitable[None]]


class ExperimentControl:
    """Creates, starts and stops experiments, for people and for autopilot. `results` reads what they found.

    Args:
        settings: limits of experiments, and where the log is.
        store: the online store.
        ask_version: slot -> the version that its `Retrieval` serves; wakes it where it is scaled to zero.
        hold: keeps a slot's `Retrieval` busy for some seconds, so that it is not scaled to zero.
    """

    def __init__(self, settings: Settings, store: OnlineStore, ask_version: AskVersion, hold: Hold) -> None:
        self.settings = settings
        self._store = store
        self._client, self._keys = store.client, store.keys
        self._ask_version = ask_version
        self._hold = hold
        self.results = ExperimentResults(settings, store)
        self._registry = ModelRegistry(settings)
        self._state = ServingState(version=-1)
        self._holding: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Follow a change of the experiments: slots in use are kept awake, and ends are written to every partition."""
        self._state = await read_state(self._client, self._keys)
        ended = [one for one in self._state.experiments.values() if one.status == "stopped"]
        await write_ends(self._client, self._keys, {one.id: one.ended_ms for one in ended if one.ended_ms is not None})
        wanted = {claim.slot for claim in self._state.claims(_now_ms())} - {CHAMPION}
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
                await self._fix_sample(experiment, sums, now_ms)

    async def _fix_sample(self, experiment: Experiment, sums: dict[str, VariantSums], now_ms: int) -> None:
        """Fix at how many users an experiment is read that has planned an effect and no users; once for ever."""
        if experiment.sample_users is not None or experiment.planned_users is not None:
            return
        users = needed_users(design_of(experiment), sums)
        if users is None:
            return
        reason = f"{users} users in each variant find the planned effect, by the variance of the control's first users"
        try:
            await change_experiment(
                self._client,
                self._keys,
                experiment.id,
                lambda one, _: fix_sample(one, users),
                "planned",
                reason,
                now_ms,
                PLAN,
            )
        except ExperimentError:
            logger.info("the sample of %s has been fixed meanwhile", experiment.id)

    async def create(self, definition: Definition, who: str = PERSON) -> Experiment:
        """Store a new experiment as a draft. Raises `ExperimentError`, also for a version that there is not."""
        state = await read_state(self._client, self._keys)
        bundles = await asyncio.to_thread(list_bundles, self.settings.bundles_dir)
        check_versions(definition, state, [path.name for path in bundles])
        return await create_experiment(self._client, self._keys, definition, _now_ms(), who)

    async def all(self) -> list[Experiment]:
        """All experiments, the newest first."""
        state = await read_state(self._client, self._keys)
        return list(state.experiments.values())[::-1]

    async def one(self, experiment: str) -> tuple[Experiment, list[ExperimentChange]]:
        """An experiment with its changes. Raises `ExperimentError`."""
        found = known(await read_state(self._client, self._keys), experiment)
        return found, await read_changes(self._client, self._keys, experiment)

    async def start(self, experiment: str, reason: str, who: str = PERSON) -> Experiment:
        """Start an experiment, once every model that it compares is loaded.

        Raises:
            ExperimentError: the experiment cannot start.
            SlotInUseError: something else needs a slot of it.
            ApiError: 503, a model was not loaded in time.
        """
        state = await read_state(self._client, self._keys)
        found = known(state, experiment)
        check_start(found, state)
        slots, wanted = resolve_slots(found, state)
        for slot, version in wanted.items():
            await self._put(slot, version, f"experiment {experiment}", who)
        state = await read_state(self._client, self._keys)
        for slot in dict.fromkeys(slots.values()):
            await self._wait_for(slot, state.slots[slot].version)
        now_ms = _now_ms()
        return await change_experiment(
            self._client,
            self._keys,
            experiment,
            lambda one, now: start(one, now, now_ms),
            "started",
            reason,
            now_ms,
            who,
        )

    async def stop(self, experiment: str, reason: str, who: str = PERSON) -> Experiment:
        """Stop a running experiment. Raises `ExperimentError`."""
        now_ms = _now_ms()
        done = await change_experiment(
            self._client,
            self._keys,
            experiment,
            lambda one, _: stop(one, now_ms, reason),
            "stopped",
            reason,
            now_ms,
            who,
        )
        await write_ends(self._client, self._keys, {done.id: done.ended_ms or now_ms})
        sums = await read_sums(self._client, self._keys, done.id, done.names)
        await add_snapshot(self._client, self._keys, done.id, now_ms, sums)
        return done

    async def archive(self, experiment: str, reason: str, who: str = PERSON) -> Experiment:
        """Archive a stopped experiment. Raises `ExperimentError`."""
        return await change_experiment(
            self._client, self._keys, experiment, lambda one, _: archive(one), "archived", reason, _now_ms(), who
        )

    async def promote(self, experiment: str, variant: str | None, reason: str, who: str = PERSON) -> Experiment:
        """Let a variant's version be the champion.

        Raises:
            ExperimentError: it is not stopped, or nobody has won; its version cannot be served.
            SlotInUseError: something needs the champion's slot as it is.
        """
        found, results = await self.results.of(experiment)
        winner = winner_of(found, variant, results.decision.winner)
        text = f"experiment {experiment}: {winner}; {reason}"
        bundles = self.settings.bundles_dir
        done = await promote_winner(self._client, self._keys, bundles, experiment, winner, text, _now_ms(), who)
        await self._move_aliases()
        return done

    async def roll_out(self, share: float, version: str | None, reason: str, who: str = PERSON) -> Rollout | None:
        """Give the challenger a share of the traffic, with another version in its slot first where one is named.

        Raises:
            RolloutError: a rollout is not possible now.
            SlotInUseError: something needs the challenger's slot as it is.
            ApiError: 503, the model was not loaded in time.
        """
        state = await read_state(self._client, self._keys)
        if version is not None and state.serving(CHALLENGER) != version:
            try:
                await self._put(CHALLENGER, version, f"rollout: {reason}", who)
            except ExperimentError as error:
                raise RolloutError(str(error)) from error
            state = await read_state(self._client, self._keys)
        serving = state.serving(CHALLENGER)
        if share > 0 and serving is not None:
            await self._wait_for(CHALLENGER, serving)
        return await set_rollout(self._client, self._keys, share, reason, _now_ms(), who, serving)

    async def _put(self, slot: str, version: str, reason: str, who: str) -> None:
        try:
            await promote(self._client, self._keys, self.settings.bundles_dir, version, reason, slot, who)
        except PromotionError as error:
            raise ExperimentError("conflict", f"version: {error}", "version") from error
        await self._move_aliases()

    async def _move_aliases(self) -> None:
        if problem := await self._registry.follow(self._client, self._keys):
            logger.warning("the registry's aliases follow later: %s", problem)

    async def _wait_for(self, slot: str, version: str) -> None:
        """Wait until the slot's `Retrieval` answers with the version. Raises ApiError 503."""
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


def _now_ms() -> int:
    return clock.now_ms()

"""The life of experiments: created, started, stopped, promoted; and the models that they compare are kept awake."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable

from configs import clock
from configs.settings import Settings
from deployments.http.errors import ApiError
from deployments.operations.experiments.results import ExperimentResults, design_of
from experiments.plan import needed_users
from experiments.user_totals import VariantSums
from features.experiments.counts import read_sums, write_ends
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
from features.experiments.series import add_snapshot, due, last_snapshot_ms
from features.experiments.steps import (
    archive,
    check_start,
    fix_sample,
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
        self._state = TrafficState(version=-1, experiments={}, slots={}, rollout=None)
        self._holding: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Follow a change of the experiments: slots in use are kept awake, and ends are written to every partition."""
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
            )
        except ExperimentError:
            logger.info("the sample of %s has been fixed meanwhile", experiment.id)

    async def create(self, definition: Definition) -> Experiment:
        """Store a new experiment as a draft. Raises `ExperimentError`."""
        return await create_experiment(self._client, self._keys, definition, _now_ms())

    async def all(self) -> list[Experiment]:
        """All experiments, the newest first."""
        state = await read_traffic(self._client, self._keys)
        return list(state.experiments.values())[::-1]

    async def one(self, experiment: str) -> tuple[Experiment, list[ExperimentChange]]:
        """An experiment with its changes. Raises `ExperimentError`."""
        found = known(await read_traffic(self._client, self._keys), experiment)
        return found, await read_changes(self._client, self._keys, experiment)

    async def start(self, experiment: str, reason: str) -> Experiment:
        """Start an experiment, once every model that it compares is loaded.

        Raises:
            ExperimentError: the experiment cannot start.
            ApiError: 503, a model was not loaded in time.
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
        """Stop a running experiment. Raises `ExperimentError`."""
        now_ms = _now_ms()
        done = await change_experiment(
            self._client, self._keys, experiment, lambda one, _: stop(one, now_ms, reason), "stopped", reason, now_ms
        )
        await write_ends(self._client, self._keys, {done.id: done.ended_ms or now_ms})
        sums = await read_sums(self._client, self._keys, done.id, done.names)
        await add_snapshot(self._client, self._keys, done.id, now_ms, sums)
        return done

    async def archive(self, experiment: str, reason: str) -> Experiment:
        """Archive a stopped experiment. Raises `ExperimentError`."""
        return await change_experiment(
            self._client, self._keys, experiment, lambda one, _: archive(one), "archived", reason, _now_ms()
        )

    async def promote(self, experiment: str, variant: str | None, reason: str) -> Experiment:
        """Let a variant's version be the champion.

        Raises:
            ExperimentError: it is not stopped, or nobody has won; its version cannot be served.
        """
        found, results = await self.results.of(experiment)
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
            RolloutError: a rollout is not possible now.
            ApiError: 503, the model was not loaded in time.
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


def slots_in_use(state: TrafficState) -> set[str]:
    """Slots to which running experiments or the rollout send traffic."""
    used = {slot for one in running(state) for slot in one.slots.values()}
    return used | ({CHALLENGER} if state.rollout is not None else set())


async def _promote(store: OnlineStore, settings: Settings, version: str, reason: str, slot: str) -> None:
    try:
        await promote(store.client, store.keys, settings.bundles_dir, version, reason, slot)
    except AlreadyServedError:
        raise
    except PromotionError as error:
        raise ExperimentError("conflict", f"version: {error}", "version") from error


def _now_ms() -> int:
    return clock.now_ms()

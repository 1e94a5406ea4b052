"""Autopilot: one replica that watches live quality and drift, starts retrainings, follows them, takes back harm, and
moves the weights of bandits.

Everything that it must remember lies in the store, and every step is written there before it is taken (see
`features.serving.retraining_run`), so it may be killed at any moment: the next one goes on from what is written.
"""

import asyncio
import contextvars
import logging
import time

from configs.clock import now_ms
from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import DataError
from data.event_log import EventLog
from deployments.autopilot.alert_rules import due_alerts
from deployments.autopilot.alerts import Webhook, changes
from deployments.autopilot.autopilot_memory import Memory, remember, save
from deployments.autopilot.cron import Cron
from deployments.autopilot.drift_watch import DriftWatch
from deployments.autopilot.drift_watch import most_of_one_user as most_in_window
from deployments.autopilot.housekeeping import Housekeeping
from deployments.autopilot.list_judge import ListJudge
from deployments.autopilot.live_trial import LiveTrial
from deployments.autopilot.promotion_watch import PromotionGuard
from deployments.autopilot.triggers import calls_for_retraining, most_of_one_user, unlearned
from deployments.http.errors import ApiError
from deployments.operations.experiments.control import AskVersion, ExperimentControl, Hold
from deployments.operations.heartbeat import Heartbeat, write_heartbeat
from deployments.operations.model_registry import ModelRegistry
from deployments.operations.monitor import Monitor
from deployments.operations.monitor_views import Alert
from deployments.operations.observation import Observation
from deployments.operations.ray_jobs import JobsError, RayJobs
from deployments.operations.retraining import Retraining
from features.experiments.bandits import reweigh_bandits
from features.items.catalogue import Catalogue
from features.recording.online_store import OnlineStore
from features.redis.connection import connect, durability
from features.redis.errors import StoreError
from features.redis.layout import keys_of
from features.serving.aliases import move_aliases
from features.serving.replicas import read_replicas
from features.serving.retraining_run import read_run
from features.serving.run_record import Run, Trigger
from features.serving.serving_state import AUTOPILOT
from features.serving.slots import CHAMPION
from features.serving.timeline import Kind, entry, note
from features.streams.new_events import NewEvents
from models.bundle.arrays import BundleError
from models.bundle.reading import load_bundle
from models.monitoring.bias import BiasModel

logger = logging.getLogger("ray.serve")
STUCK_S = 120.0
LONGEST_WAIT_S = 86_400.0
ALIASES_RETRY_S = 30.0
"""How long autopilot waits before it asks again a registry that did not take an alias."""
REWEIGH_MS = 10_000


class Autopilot:
    """Looks every few seconds; each look does all that is due.

    Args:
        settings: what autopilot may do, its limits, and where store, log, Ray and registry are.
        ask_version, hold: see `ExperimentControl`.
    """

    def __init__(self, settings: Settings, ask_version: AskVersion, hold: Hold) -> None:
        self.settings = settings
        self._limits = settings.autopilot
        self._client = connect(settings.store, settings.store_url_of("console"))
        self._keys = keys_of(settings.store)
        types = load_event_types(settings.data.events)
        self._catalogue = Catalogue(self._client, self._keys, types=())
        self._monitor = Monitor(settings, self._client, self._keys)
        self._live = ListJudge(
            self._client,
            self._keys,
            EventLog(settings.log_dir),
            types,
            self._catalogue,
            self._limits.attribution_s,
            with_simulated=settings.training.simulated,
            of_one_user=most_in_window(self._limits.min_lists),
        )
        self._new_events = NewEvents(
            self._client,
            self._keys,
            EventLog(settings.log_dir),
            self._limits.new_events,
            most_of_one_user(self._limits),
            settings.training.simulated,
        )
        self._guard = PromotionGuard(self._client, self._keys, self._limits, self._live)
        self._drift = DriftWatch(self._client, self._keys, self._limits, self._live)
        self._webhook = Webhook(settings.alerts)
        self._registry = ModelRegistry(settings)
        store = OnlineStore(self._client, self._keys, settings.store, types)
        self._trial = LiveTrial(ExperimentControl(settings, store, ask_version, hold), self._limits)
        self._retraining = Retraining(settings, self._client, self._keys, RayJobs(settings), self._trial)
        self.housekeeping = Housekeeping(settings, self._client, self._keys)
        self._schedule = Cron(self._limits.schedule) if self._limits.schedule else None
        self._followed: str | None = None
        self._events_counted: int | None = None
        self._problems: dict[str, str] = {}
        self._store_away = False
        self._aliases_due, self._aliases_problem = 0.0, ""
        self._last_look = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look every few seconds, in the background."""
        # In a context of its own: see `MicroBatcher.ask`.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    def check_health(self) -> None:
        """Raises RuntimeError when it no longer looks; Serve then replaces the replica."""
        silent_s = time.monotonic() - self._last_look
        if self._task is None or self._task.done() or silent_s > STUCK_S:
            raise RuntimeError(f"autopilot has not looked for {silent_s:.0f} s")

    async def stop(self) -> None:
        """Look no more, and close the connection to the store."""
        if self._task is not None:
            self._task.cancel()
        await self.housekeeping.stop()
        await self._client.aclose()

    async def _run(self) -> None:
        while True:
            self._last_look = time.monotonic()
            await self.try_look()
            await asyncio.sleep(self._limits.every_s)

    async def try_look(self) -> None:
        """Look, and raise nothing: trouble is logged, and a store that is away is also alerted."""
        try:
            await self.look()
        except StoreError as error:
            self._store_is_away(str(error))
        except Exception:
            logger.exception("autopilot: a look failed, trying on")
        else:
            self._store_is_away(None)

    def _store_is_away(self, problem: str | None) -> None:
        """Alert once that the store is away, and once that it is back. Other alerts are remembered in the store itself;
        for this one a flag has to do."""
        if problem is not None:
            logger.warning("autopilot: %s; trying on", problem)
        if (problem is not None) is not self._store_away:
            self._store_away = problem is not None
            text = problem or "the online store answers again"
            self._webhook.tell(Alert(name="store", severity="critical", text=text), on=self._store_away)

    async def look(self) -> None:
        """Do all that is due now. Raises `StoreError`."""
        memory = await remember(self._client, self._keys)
        seen = await self._monitor.observe()
        # In every mode: streams that nobody drains fill the store.
        await self.housekeeping.look(seen, memory)
        if self._limits.mode != "off":
            await self._watch(seen)
        await self._guard.follow(memory, seen)
        run = seen.run
        if run is not None:
            await self._advance(run, memory)
        elif self._limits.mode != "off":
            await self._trigger(seen, memory)
        if memory.watched is not None and await self._guard.look(memory.watched, memory, seen):
            self._count(memory, success=False)
        await self._move_aliases()
        await self._reweigh(memory)
        await self._alert(seen, memory)
        await save(self._client, self._keys, memory)

    # Live quality and drift

    async def _watch(self, seen: Observation) -> None:
        """Judge lists and compare windows; trouble with the log stops neither retraining nor guarding."""
        await self._catalogue.refresh()
        champion = seen.slots.get(CHAMPION)
        if champion is not None and champion.version != self._followed:
            try:
                bundle = await asyncio.to_thread(load_bundle, champion.path)
            except (BundleError, OSError) as error:
                self._problems["model"] = f"the champion's bundle cannot be read: {error}"
            else:
                self._problems.pop("model", None)
                users, items = frozenset(bundle.user_ids.tolist()), frozenset(bundle.item_ids.tolist())
                await self._drift.follow(champion.version, users, items)
                self._live.champion, self._followed = champion.version, champion.version
                terms = bundle.bias
                self._live.bias = None if terms is None else BiasModel(terms, bundle.item_ids, bundle.user_ids)
        try:
            await self._live.look()
        except DataError as error:
            self._problems["log"] = f"the event log cannot be read: {error}"
        else:
            self._problems.pop("log", None)
            await self._drift.look()

    # One retraining

    async def _advance(self, run: Run, memory: Memory) -> None:
        """Take the next step of the run in progress, if it is time."""
        try:
            outcome = await self._retraining.advance(run)
        except JobsError as error:
            self._problems["jobs"] = str(error)
            logger.warning("autopilot: %s", error)
        else:
            self._problems.pop("jobs", None)
            if outcome is not None:
                self._count(memory, success=outcome in ("promoted", "waiting"))

    def _count(self, memory: Memory, success: bool) -> None:
        """Note how a retraining ended: autopilot's next one waits for the cool-down, and longer after each failure."""
        memory.failures = 0 if success else memory.failures + 1
        wait_s = self._limits.cooldown_s
        if memory.failures:
            wait_s += min(LONGEST_WAIT_S, self._limits.backoff_s * 2 ** min(memory.failures - 1, 20))
        memory.quiet_until_ms = now_ms() + int(wait_s * 1000)

    # Triggers

    async def _trigger(self, seen: Observation, memory: Memory) -> None:
        """Start a retraining where something calls for one; in mode `observe` only say so."""
        # While streams are not read to their end it is not known which of the waiting events are simulated.
        simulated = self._simulated_pending(seen) if self._live.caught_up else None
        events = unlearned(seen, simulated)
        self._events_counted = None if simulated is None else await self._counted(events)
        counted = self._events_counted or 0
        measures, schedule, since_ms = self._drift.measures, self._schedule, memory.scheduled_ms
        calls = calls_for_retraining(seen, events, counted, measures, self._limits, schedule, since_ms, now_ms())
        await self._note_changes(memory, calls)
        # The run itself says when it ended, in case autopilot was killed before it could note the wait.
        ended_ms = (seen.last_run.ended_ms if seen.last_run else None) or 0
        if ended_ms > now_ms():  # The clock was set back since; what the memory notes has moved with it.
            ended_ms = 0
        quiet_until_ms = max(memory.quiet_until_ms, ended_ms + int(self._limits.cooldown_s * 1000))
        # Without any model there is nothing that a training could make worse, so nobody needs to allow the first one.
        first = "events" in calls and CHAMPION not in seen.slots
        acting, quiet = self._limits.mode == "act" or first, now_ms() < quiet_until_ms
        if not (acting and quiet and "schedule" in calls):  # Otherwise the schedule stays due until the wait is over.
            memory.scheduled_ms = now_ms()
        if not acting or quiet or not calls:
            return
        trigger, reason = next(iter(calls.items()))
        try:
            await self._retraining.start(trigger, reason)
        except ApiError as error:
            if error.code != "retraining_in_progress":
                self._problems["jobs"] = error.message
            logger.warning("autopilot: no retraining was started: %s", error.message)

    async def _counted(self, events: int) -> int | None:
        """How many of the events that no model has learned from count; None where that cannot be read, or none do."""
        if not self._limits.new_events:
            return None
        try:
            return await self._new_events.count(events)
        except DataError as error:
            self._problems["log"] = f"the event log cannot be read: {error}"
            return None

    def _simulated_pending(self, seen: Observation) -> int:
        """How many of the events that wait in the streams training leaves out."""
        return self._live.left_out_since(seen.time_ms - int(seen.backlog["events"].lag_s * 1000))

    async def _note_changes(self, memory: Memory, calls: dict[Trigger, str]) -> None:
        """Write new drift and new triggers into the timeline, each once for as long as it lasts."""
        present: dict[str, str] = {}
        for view in self._drift.measures:
            if view.drifted:
                present[f"drift:{view.name}"] = f"{view.name} has drifted: {view.detail}"
        if self._limits.mode == "observe":
            present |= {f"trigger:{name}": f"would retrain ({name}): {reason}" for name, reason in calls.items()}
        for name, words in present.items():
            if name not in memory.noted:
                kind: Kind = "drift" if name.startswith("drift:") else "trigger"
                await note(self._client, self._keys, entry(kind, words))
        memory.noted = {name: memory.noted.get(name, now_ms()) for name in present}

    # The registry

    async def _move_aliases(self) -> None:
        """Let the registry's aliases follow where whoever changed a slot could not reach it."""
        if time.monotonic() < self._aliases_due:
            return
        moved, problem = await move_aliases(self._client, self._keys, self._registry.point)
        for slot, version in moved.items():
            words = f"the registry's alias {slot} names {version or 'nothing'} now"
            await note(self._client, self._keys, entry("slot", words).model_copy(update={"who": AUTOPILOT}))
        if problem is not None:
            self._aliases_due = time.monotonic() + ALIASES_RETRY_S
            if problem != self._aliases_problem:
                logger.warning("autopilot: the registry's aliases follow later: %s", problem)
        self._aliases_problem = problem or ""

    # Bandits

    async def _reweigh(self, memory: Memory) -> None:
        """Move the weights of bandits. This happens in every mode, since whoever starts a bandit asks for it."""
        if now_ms() - memory.reweighed_ms >= REWEIGH_MS:
            memory.reweighed_ms = now_ms()
            await reweigh_bandits(self._client, self._keys, memory.reweighed_ms)

    # Alerts

    async def _alert(self, seen: Observation, memory: Memory) -> None:
        problems = {**self._problems, **self.housekeeping.problems}
        if problem := await self._registry.problem():
            problems["registry"] = problem
        durable, replicas = await durability(self._client), await read_replicas(self._client, self._keys)
        # The run is read again, since this look may have started one.
        retraining = await read_run(self._client, self._keys) is not None
        found = list(due_alerts(seen, durable, replicas, self._drift.measures, problems, retraining, self.settings))
        out, memory.told = changes(found, memory.told, now_ms(), int(self.settings.alerts.repeat_s * 1000))
        for alert, on in out:
            self._webhook.tell(alert, on)
            words = alert.text if on else f"over: {alert.text}"
            await note(self._client, self._keys, entry("alert", f"{alert.name}: {words}"))
        beat = Heartbeat(
            time_ms=now_ms(),
            drift=self._drift.measures,
            alerts=found,
            watching=memory.watched.version if memory.watched else None,
            failures=memory.failures,
            quiet_until_ms=memory.quiet_until_ms,
            skipped_lists=self._live.skipped,
            simulated_pending=self._simulated_pending(seen),
            events_counted=self._events_counted,
            problems=problems,
            use=self.housekeeping.use,
            store_durable=durable.durable,
            experiments=await self._trial.health(),
            mismatched_replicas=sum(one.problem is not None for one in replicas),
            near_behind_s=max((one.near_behind_s for one in replicas if one.near_behind_s is not None), default=None),
        )
        await write_heartbeat(self._client, self._keys, beat)

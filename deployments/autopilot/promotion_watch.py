"""Whoever becomes champion is watched for a while, and taken back where it does harm."""

import logging

from configs.clock import now_ms
from configs.settings import AutopilotLimits
from deployments.autopilot.autopilot_memory import Memory
from deployments.autopilot.drift_watch import click_sums, precision_sums
from deployments.autopilot.list_judge import ListJudge
from deployments.autopilot.promotion_guard import WatchedPromotion, begin, broken, comparison
from deployments.operations.observation import Observation
from deployments.replica.user_counts import user_counts
from experiments.statistics.sums import pack_sums
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import end_watch, roll_back_to, rollback_reason, watch
from features.serving.replicas import read_replicas
from features.serving.serving_state import AUTOPILOT, Guard, StateMovedError
from features.serving.slots import CHAMPION
from features.serving.timeline import entry

logger = logging.getLogger("ray.serve")
LISTS_BEFORE = 50


class PromotionGuard:
    """Begins to watch what was promoted, and judges it at every look; what it knows lies in autopilot's memory.

    Args:
        client, keys: the online store.
        limits: how long a model is watched, and what it may not break.
        judge: has the lists of both models.
    """

    def __init__(self, client: StoreClient, keys: Keys, limits: AutopilotLimits, judge: ListJudge) -> None:
        self._client, self._keys = client, keys
        self._limits = limits
        self._judge = judge

    async def follow(self, memory: Memory, seen: Observation) -> None:
        """Begin to watch a model that was just promoted, by whomever, unless a rollback brought it back."""
        champion = seen.slots.get(CHAMPION)
        before = memory.champion
        if champion == before:
            return
        memory.champion = champion
        if before is None or champion is None or champion.version == before.version:
            return
        memory.noted.clear()
        if champion.reason.startswith(rollback_reason("")) or self._limits.guard_s == 0:
            memory.watched = None
            return
        lists = [one for one in self._judge.judged if one.model_version == before.version][-self._limits.min_lists :]
        known = len(lists) >= LISTS_BEFORE
        clicks, precision = (pack_sums(sums(lists)) if known else None for sums in (click_sums, precision_sums))
        counts = user_counts(seen.telemetry.totals)
        memory.watched = begin(champion, before, counts, clicks, precision, self._limits)
        words = f"{champion.version} is watched for {self._limits.guard_s:.0f} s"
        guard = Guard(champion.version, before.version, memory.watched.until_ms)
        try:
            await watch(self._client, self._keys, guard, entry("guardrail", words, model_version=champion.version))
        except StateMovedError:
            memory.watched = None  # The next look sees what serves by now.

    async def look(self, watched: WatchedPromotion, memory: Memory, seen: Observation) -> bool:
        """Judge the model that is watched. Returns whether it was rolled back."""
        champion = seen.slots.get(CHAMPION)
        if champion is None or champion.version != watched.version:
            memory.watched = None
            return False
        replicas = await read_replicas(self._client, self._keys)
        lists = [one for one in self._judge.judged if one.model_version == watched.version]
        harm = broken(
            watched,
            user_counts(seen.telemetry.totals),
            click_sums(lists),
            [one for one in replicas if one.deployment == f"retrieval-{CHAMPION}"],
            self._limits,
            now_ms(),
            counting=max(1, sum(writer.deployment == "ranking" for writer in seen.telemetry.writers)),
        )
        version = watched.version
        if harm is None:
            if now_ms() > watched.until_ms:
                memory.watched = None
                found = comparison(watched, click_sums(lists), precision_sums(lists))
                words = "; ".join(filter(None, (f"{version} was watched and broke no guardrail", found)))
                await end_watch(self._client, self._keys, version, entry("guardrail", words, model_version=version))
            return False
        acting = self._limits.mode == "act"
        words = f"rolled back to {watched.previous}" if acting else f"would roll back to {watched.previous}"
        line = entry("guardrail", f"{words}: {harm}", model_version=version)
        if not acting:
            await end_watch(self._client, self._keys, version, line)
        else:
            version_to, uri, why = watched.previous, watched.previous_uri, f"guardrail: {harm}"
            try:
                await roll_back_to(
                    self._client, self._keys, version_to, uri, why, seen.state_version, AUTOPILOT, (line,)
                )
            except StateMovedError as error:
                logger.info("autopilot does not roll back %s: %s", version, error)
                return False  # The next look decides on what serves by now.
        memory.watched = None
        return acting

"""Ranking: the ingress of `recommend`. Features, candidates, order, exposure, answer."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from data.log_tables import is_simulated
from deployments.http.deadline import Deadlines
from deployments.http.errors import ApiError
from deployments.http.schemas import RecommendRequest, id_text
from deployments.recommend.messages import Answer, Question, Reply
from deployments.recommend.micro_batch import MicroBatcher
from deployments.recommend.ranked_list import ListCache, RankedList, dress, explore, rank
from deployments.recommend.ranker_features import NO_AFFINITIES
from deployments.recommend.scoring import affinities_of, score_candidates
from deployments.recommend.variant_assignment import DEFAULT, Assigned, VariantAssignment, events_before
from deployments.replica.control_watch import ControlWatch
from deployments.replica.request_metrics import FLUSH_S, RecommendStages, RequestMetrics
from features.items.catalogue import Catalogue
from features.recording.online_store import Exposure, OnlineStore, UserFeatures
from features.redis.connection import connect
from features.redis.errors import StoreError
from features.redis.layout import keys_of
from features.serving.slots import read_slots
from models.bundle.files import BundleError, read_ranker
from models.compiled import compile_all
from models.ranking.ranker import Ranker

logger = logging.getLogger("ray.serve")
STORE_SHARE = 0.4
"""Of the deadline, that features and exposure may each wait for: a silent store costs freshness, not the answer."""
RANKERS_KEPT = 4
"""A replica of retrieval may answer with the version before for as long as it loads the new one."""


class _Asked(NamedTuple):
    """A question to retrieval, with what the ranker needs beside the candidates."""

    question: Question
    features: UserFeatures | None
    context: dict[str, object] | None


class _Found(NamedTuple):
    """What came of it. `learned` are the ranker's scores, None where the version has no ranker."""

    reply: Reply
    answer: Answer | None
    learned: np.ndarray | None


class Ranking:
    """Answers one recommendation at a time; concurrent ones share the call to retrieval and the ranker's.

    Args:
        settings: of the platform.
        retrieval: slot -> function that asks the slot's `Retrieval` deployment for a batch.
    """

    def __init__(self, settings: Settings, retrieval: dict[str, Callable[[list[Question]], Awaitable[Reply]]]) -> None:
        self.settings = settings
        serving = settings.serving
        wait_s = min(settings.store.timeout_s, serving.deadline_s * STORE_SHARE)
        client = connect(settings.store.model_copy(update={"timeout_s": wait_s}), settings.store_url)
        keys = keys_of(settings.store)
        self._client, self._keys = client, keys
        self._store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
        self._catalogue = Catalogue(client, keys)
        self._slots: dict[str, str] = {}  # slot -> version
        self._traffic = VariantAssignment(client, keys)
        self._rankers: dict[str, Ranker | None] = {}  # version -> its ranker; None where it has none
        self._retrieval = {
            slot: MicroBatcher[_Asked, _Found](self._asking(ask), concurrency=2) for slot, ask in retrieval.items()
        }
        self._deadlines = Deadlines(serving.deadline_s)
        self._cache = ListCache(serving.cache_size, serving.cache_age_s)
        self.metrics = RequestMetrics(client, keys, "ranking", settings.tracing.endpoint is not None)
        self._stages = RecommendStages(self.metrics)
        self._generator = np.random.default_rng()
        self._watch = ControlWatch(
            client,
            keys,
            settings.serving.watch_s,
            on_slots=self._follow_slots,
            on_catalogue=self._follow_catalogue,
            on_traffic=self._traffic.follow,
            on_beat=(FLUSH_S, self.metrics.flush),
        )

    async def start(self) -> None:
        await asyncio.to_thread(compile_all)
        await self._watch.start()
        with contextlib.suppress(StoreError):  # it will be asked again; a replica also starts while the store is down
            await self._store.prepare()

    async def stop(self) -> None:
        await self._watch.stop()

    def check_health(self) -> None:
        self._watch.check_health()

    async def recommend(self, request: RecommendRequest) -> bytes:
        """The answer to one request, as JSON.

        Raises:
            ApiError: 504 past the deadline, 503 when no model answers.
        """
        try:
            return await self._deadlines.run(self._recommend(request, time.perf_counter()))
        except TimeoutError:
            limit = self.settings.serving.deadline_s
            raise ApiError(504, "deadline_exceeded", f"no answer within {limit} s", retry_after_s=1) from None

    async def _recommend(self, request: RecommendRequest, started: float) -> bytes:
        user_id = id_text(request.user_id)
        features = await self._read_features(user_id)
        self._stages.features.observe(time.perf_counter() - started)
        assigned = self._traffic.assign(user_id, features.fields if features else None, request.force_variant)
        assigned, ranked, hit = await self._rank_assigned(request, user_id, assigned, features)
        # After the cache, so that chance is drawn anew for every list.
        ranked = explore(ranked, self.settings.serving.exploration, self._generator)
        recommendation_id = os.urandom(12).hex()
        logging_since = time.perf_counter()
        before = events_before(features.fields) if features and assigned.experiment else 0
        logged = await self._log_exposure(request, user_id, assigned, before, ranked, recommendation_id)
        finished = time.perf_counter()
        self._stages.exposure.observe(finished - logging_since)
        self._stages.total.observe(finished - started)
        self._count(ranked, hit, degraded=features is None or not logged)
        return orjson.dumps(
            {
                "user_id": request.user_id,
                "recommendations": orjson.Fragment(ranked.shown or self._dress(request, ranked)),
                "recommendation_id": recommendation_id,
                "model_version": ranked.model_version,
                "experiment": assigned.experiment,
                "variant": assigned.variant,
                "cache_hit": hit,
                "cold_start": ranked.cold_start,
                "degraded": features is None or not logged,
                "latency_ms": round((time.perf_counter() - started) * 1000, 3),
            }
        )

    def _count(self, ranked: RankedList, hit: bool, degraded: bool) -> None:
        counts = self.metrics.counts
        if hit:
            counts["cache_hits"] += 1
        elif ranked.sources and ranked.sources[0] == "fold_in":
            counts["fold_ins"] += 1
        if ranked.cold_start:
            counts["cold_starts"] += 1
        if degraded:
            counts["degraded"] += 1

    async def _read_features(self, user_id: str) -> UserFeatures | None:
        """None when the store does not answer. It is not even asked while the watch finds it silent: otherwise every
        request would wait for the timeout that the one before it has already met."""
        if not self._watch.store_answers:
            return None
        try:
            [features] = await self._store.read_users([user_id])
        except StoreError as error:
            logger.warning("answering without features: %r", error)
            self._watch.store_answers = False
            return None
        return features

    async def _rank_assigned(
        self, request: RecommendRequest, user_id: str, assigned: Assigned, features: UserFeatures | None
    ) -> tuple[Assigned, RankedList, bool]:
        """The list of the slot that the request is assigned to. Where that slot does not answer, the champion does, and
        the list counts for no experiment: nobody goes without an answer for an experiment's sake."""
        if assigned.slot == DEFAULT.slot:
            return assigned, *await self._rank(request, user_id, assigned.slot, features)
        try:
            async with asyncio.timeout(self.settings.serving.deadline_s * STORE_SHARE):
                return assigned, *await self._rank(request, user_id, assigned.slot, features)
        except (ApiError, TimeoutError) as error:
            logger.warning("the slot %s does not answer, the champion does: %r", assigned.slot, error)
            self.metrics.counts["variant_fallbacks"] += 1
            return DEFAULT, *await self._rank(request, user_id, DEFAULT.slot, features)

    async def _rank(
        self, request: RecommendRequest, user_id: str, slot: str, features: UserFeatures | None
    ) -> tuple[RankedList, bool]:
        """The ordered list, and whether it came from the cache. An entry counts only while the user's version, the
        model version and the catalogue are those that it was made with, so that a hit is never stale."""
        key = None
        model_and_catalogue = (self._slots.get(slot), self._catalogue.version)
        if features is not None and features.version > 0:
            shape = request.model_dump_json(exclude={"user_id"})
            key = (user_id, slot, *model_and_catalogue, shape)
            cached = self._cache.get(key, features.version)
            if cached is not None:
                return cached, True
        ranked = await self._retrieve(request, user_id, slot, features)
        # The retrieval replica may still see an older catalogue or model than this one: such a list is right now, but
        # must not be kept under the newer key.
        made_with = (ranked.model_version, ranked.catalogue_version)
        if key is not None and features is not None and not ranked.cold_start and made_with == model_and_catalogue:
            self._cache.put(key, features.version, ranked)
        return ranked, False

    async def _retrieve(
        self, request: RecommendRequest, user_id: str, slot: str, features: UserFeatures | None
    ) -> RankedList:
        include = request.filters.include_categories
        question = Question(
            user_id=user_id.encode(),
            history=features.history if features else None,
            older_seen=features.older_seen if features else None,
            n=max(request.top_k, self.settings.serving.candidates),
            exclude_seen=request.exclude_seen,
            exclude_items=tuple(id_text(item).encode() for item in request.filters.exclude_items),
            include_categories=None if include is None else tuple(include),
            exclude_categories=tuple(request.filters.exclude_categories),
            affinities=affinities_of(features) if features else NO_AFFINITIES,
            with_factors=request.diversity > 0,
            with_reasons=request.explain,
        )
        asked = time.perf_counter()
        try:
            reply, answer, learned = await self._retrieval[slot].ask(_Asked(question, features, request.context))
        except StoreError:
            raise
        except Exception as error:
            logger.exception("retrieval of slot %s failed", slot)
            raise ApiError(503, "model_unavailable", f"no model answers: {error}", retry_after_s=1) from error
        answered = time.perf_counter()
        self._stages.retrieval.observe(answered - asked)
        if answer is None:
            raise ApiError(503, "model_unavailable", f"the slot {slot} holds no usable model", retry_after_s=1)
        if reply.catalogue_version > self._catalogue.version:
            # A new item may be on the list already: its title must be known here too.
            await self._refresh_catalogue()
        pooled = self.settings.serving.exploration > 0
        ranked = rank(reply, answer, learned, request.top_k, request.diversity, pooled)
        # Dressed here, so that a list from the cache is written out only once.
        ranked = ranked._replace(shown=self._dress(request, ranked))
        self._stages.ranking.observe(time.perf_counter() - answered)
        return ranked

    def _asking(
        self, ask: Callable[[list[Question]], Awaitable[Reply]]
    ) -> Callable[[list[_Asked]], Awaitable[Sequence[_Found]]]:
        """Ask for a batch of candidates, and let the ranker of the version that answers score all of them at once."""

        async def call(asked: list[_Asked]) -> Sequence[_Found]:
            reply = await ask([one.question for one in asked])
            if reply.version is None:
                return [_Found(reply, None, None)] * len(asked)
            ranker = await self._ranker(reply.version, Path(reply.bundle)) if reply.bundle else None
            if ranker is None:
                return [_Found(reply, answer, None) for answer in reply.answers]
            learned = score_candidates(ranker, reply, [one.features for one in asked], [one.context for one in asked])
            return [_Found(reply, *pair) for pair in zip(reply.answers, learned, strict=True)]

        return call

    async def _ranker(self, version: str, bundle: Path) -> Ranker | None:
        """The ranker of the version that answered. It is there already, unless the slot has moved this very moment."""
        if version not in self._rankers:
            self._rankers[version] = await asyncio.to_thread(read_ranker, bundle)
        return self._rankers[version]

    def _dress(self, request: RecommendRequest, ranked: RankedList) -> bytes:
        return orjson.dumps(dress(ranked, self._catalogue.items, request.explain))

    async def _log_exposure(
        self,
        request: RecommendRequest,
        user_id: str,
        assigned: Assigned,
        before: int,
        ranked: RankedList,
        recommendation_id: str,
    ) -> bool:
        """Log what is about to be shown, durably; False when the store does not answer."""
        exposure = Exposure(
            recommendation_id=recommendation_id,
            user_id=user_id,
            time_ms=clock.now_ms(),
            model_version=ranked.model_version,
            variant=assigned.variant,
            experiment=assigned.experiment,
            item_ids=tuple(ranked.item_ids),
            propensities=ranked.propensities,
            scores=tuple(ranked.scores),
            context=request.context,
            simulated=is_simulated(request.context),
            forced=assigned.forced,
            before=before,
        )
        if not self._watch.store_answers:
            return False
        try:
            await self._store.log_exposures([exposure])
        except StoreError as error:
            logger.warning("the exposure %s was not logged: %r", recommendation_id, error)
            self._watch.store_answers = False
            return False
        return True

    async def _follow_slots(self) -> None:
        """Load the rankers of what the slots point at, before retrieval answers with it."""
        slots = await read_slots(self._client, self._keys)
        for slot in slots.values():
            try:
                await self._ranker(slot.version, slot.path)
            except BundleError as error:
                # Retrieval refuses such a bundle as well and says so in its report; the version before serves on.
                logger.error("the ranker of %s cannot be used: %s", slot.version, error)
        self._slots = {name: slot.version for name, slot in slots.items()}
        for version in list(self._rankers)[:-RANKERS_KEPT]:
            if version not in self._slots.values():
                del self._rankers[version]
        await self._traffic.follow()

    async def _refresh_catalogue(self) -> None:
        """Within a request. Without the store a list is as good as before; at worst a new title is missing."""
        try:
            await self._catalogue.refresh()
        except StoreError as error:
            logger.warning("the catalogue is older than the list: %r", error)

    async def _follow_catalogue(self) -> None:
        await self._catalogue.refresh()

"""Ranking: the ingress of `recommend`. It answers a request in five steps; see `Ranking`."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import orjson

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import id_types, processed_dir
from data.log_tables import is_simulated
from deployments.access.access import Access
from deployments.http.deadline import Deadlines
from deployments.http.errors import ApiError
from deployments.http.schemas import RecommendRequest, id_text, typed_id_of
from deployments.recommend.candidate_call import AskRetrieval, CandidateCall, Found
from deployments.recommend.category_names import unknown_categories
from deployments.recommend.list_cache import ListCache
from deployments.recommend.ranked_list import RankedList, dress, explore, rank
from deployments.recommend.variant_assignment import DEFAULT, Assigned, VariantAssignment, events_before
from deployments.replica.control_watch import ControlWatch
from deployments.replica.request_metrics import FLUSH_S, RecommendStages, RequestMetrics
from deployments.replica.user_counts import UserCounts
from deployments.replica.user_groups import GroupCounts, is_failure
from features.items.catalogue import Catalogue
from features.recording.exposure import Exposure
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.disk_space import read_disk_space
from features.redis.errors import StoreError, StoreUnavailable
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION, read_slots
from features.users.user_features import UserFeatures
from models.bundle.arrays import BundleError
from models.bundle.reading import read_manifest
from models.compiled import compile_all

logger = logging.getLogger("ray.serve")
STORE_SHARE = 0.4
"""How much of the deadline features and exposure may each wait: a silent store costs freshness, not the answer."""


WRITE_REST_S = 1.0
"""How long no exposure is written after the store was silent on one: the next requests would all wait for it too."""


class _Asker(NamedTuple):
    """Who asks for what. `features` is None while the store does not answer."""

    request: RecommendRequest
    user_id: str
    features: UserFeatures | None


class Ranking:
    """Answers one recommendation at a time, in five steps:

    1. read the user's features, in one round trip to the store;
    2. assign a variant, and with it the slot whose model answers;
    3. find candidates, in one call to the slot's retrieval that concurrent requests share;
    4. order them by the learned ranker's scores, with diversity and exploration;
    5. log the exposure durably, and answer. A preview is no exposure: it is answered at once.

    A list from the cache takes the place of steps 3 and 4.

    Args:
        settings: where the store is, the deadline, sizes of cache and lists.
        retrieval: slot -> function that asks the slot's `Retrieval` deployment for a batch.
    """

    def __init__(self, settings: Settings, retrieval: Mapping[str, AskRetrieval]) -> None:
        self.settings = settings
        serving = settings.serving
        wait_s = min(settings.store.timeout_s, serving.deadline_s * STORE_SHARE)
        self._client = connect(settings.store.model_copy(update={"timeout_s": wait_s}), settings.store_url)
        self._keys = keys_of(settings.store)
        self._store = OnlineStore(self._client, self._keys, settings.store, load_event_types(settings.data.events))
        self._catalogue = Catalogue(self._client, self._keys, types=())
        self.access = Access(settings, self._client, self._keys)
        self._versions: dict[str, str] = {}  # slot -> version
        self._user_id_type = id_types(processed_dir(settings))[0]  # until a champion's manifest tells it
        self._assignment = VariantAssignment(self._client, self._keys)
        self._candidates = CandidateCall(retrieval, serving)
        self._deadlines = Deadlines(serving.deadline_s)
        self._cache = ListCache(serving.cache_size, serving.cache_age_s, serving.cache_bytes)
        self.metrics = RequestMetrics(self._client, self._keys, "ranking", settings.tracing.endpoint is not None)
        self._stages = RecommendStages(self.metrics)
        self._guarded = UserCounts(self.metrics.counts, settings.autopilot.slow_s)
        self._groups = GroupCounts(self.metrics.counts, settings.alerts.p99_ms / 1000)
        self._writes_due = 0.0  # a moment of the monotonic clock
        self._look_at_disk()
        self._generator = np.random.default_rng()
        self._watch = ControlWatch(
            self._client,
            self._keys,
            settings.serving.watch_s,
            on_slots=self._follow_slots,
            on_catalogue=self._follow_catalogue,
            on_traffic=self._assignment.follow,
            on_access=self.access.follow,
            on_beat=(FLUSH_S, self._beat),
        )

    async def start(self) -> None:
        """Compile what requests use, and follow the serving state; then the replica is ready."""
        await asyncio.to_thread(compile_all)
        await self._watch.start()
        # A replica also starts while the store is down, and asks it again at each request.
        with contextlib.suppress(StoreError):
            await self._store.prepare()

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self._watch.stop()
        await self.access.aclose()

    def check_health(self) -> None:
        """Raises RuntimeError when the serving state is no longer followed; Serve then replaces the replica."""
        self._watch.check_health()

    async def recommend(self, request: RecommendRequest) -> bytes:
        """The answer to one request, as JSON.

        Raises:
            ApiError: 504 past the deadline, 503 when no model answers.
        """
        started, problem, failed = time.perf_counter(), "", False
        try:
            return await self._deadlines.run(self._recommend(request, started))
        except TimeoutError:
            problem, failed, limit = "deadline_exceeded", True, self.settings.serving.deadline_s
            raise ApiError(504, problem, f"no answer within {limit} s", retry_after_s=1) from None
        except Exception as error:
            problem, failed = error.code if isinstance(error, ApiError) else "internal_error", is_failure(error)
            raise
        finally:
            if not request.preview:
                user_id, took_s = id_text(request.user_id), time.perf_counter() - started
                self._guarded.answered(user_id, self._versions.get(DEFAULT.slot), took_s, problem)
                self._groups.answered(user_id, failed, None if problem else took_s)

    async def _recommend(self, request: RecommendRequest, started: float) -> bytes:
        user_id = id_text(request.user_id)
        features = await self._read_features(user_id)
        self._stages.features.observe(time.perf_counter() - started)
        assigned = self._assignment.assign(user_id, features.fields if features else None, request.force_variant)
        asker = _Asker(request, user_id, features)
        given, ranked, hit = await self._list_of_variant(asker, assigned)
        assigned = given.answered_by(ranked.model_version)
        if assigned is not given:
            self.metrics.counts["version_mismatches"] += 1
        recommendation_id, logged = None, True
        if not request.preview:
            # After the cache, so that chance is drawn anew for every list.
            ranked = explore(ranked, self.settings.serving.exploration, self._generator)
            recommendation_id = os.urandom(12).hex()
            logging_since = time.perf_counter()
            logged = await self._log_exposure(asker, assigned, ranked, recommendation_id)
            finished = time.perf_counter()
            self._stages.exposure.observe(finished - logging_since)
            self._stages.total.observe(finished - started)
        degraded = features is None or not logged
        if not request.preview:
            self._count(ranked, hit, degraded, logged)
        unknown = unknown_categories(request.filters, self._catalogue.categories)
        return orjson.dumps(
            {
                "user_id": typed_id_of(request.user_id, self._user_id_type),
                "recommendations": orjson.Fragment(ranked.shown or self._dressed(request, ranked)),
                "recommendation_id": recommendation_id,
                "model_version": ranked.model_version,
                "experiment": assigned.experiment,
                "variant": assigned.variant,
                "cache_hit": hit,
                "cold_start": ranked.cold_start,
                "degraded": degraded,
                "latency_ms": round((time.perf_counter() - started) * 1000, 3),
                **({"warnings": unknown} if unknown else {}),
            }
        )

    # 1. Features

    async def _read_features(self, user_id: str) -> UserFeatures | None:
        """None when the store does not answer. It is not even asked while the watch finds it silent: otherwise every
        request would wait for the timeout that the one before it has already met. Only silence of a reading counts for
        that: a store that refuses writes still answers who the user is."""
        if not self._watch.store_answers:
            return None
        try:
            [features] = await self._store.read_users([user_id])
        except StoreError as error:
            logger.warning("answering without features: %r", error)
            if isinstance(error, StoreUnavailable):
                self._watch.store_answers = False
            return None
        return features

    # 2. to 4. The list

    async def _list_of_variant(self, asker: _Asker, assigned: Assigned) -> tuple[Assigned, RankedList, bool]:
        """The list of the assigned slot, and whether it came from the cache. Where that slot does not answer, the
        champion does, and the list counts for no experiment: nobody goes without an answer for an experiment's sake."""
        if assigned.slot == DEFAULT.slot:
            return assigned, *await self._list_of_slot(asker, assigned.slot)
        try:
            async with asyncio.timeout(self.settings.serving.deadline_s * STORE_SHARE):
                return assigned, *await self._list_of_slot(asker, assigned.slot)
        except (ApiError, TimeoutError) as error:
            logger.warning("the slot %s does not answer, the champion does: %r", assigned.slot, error)
            self.metrics.counts["variant_fallbacks"] += 1
            return DEFAULT, *await self._list_of_slot(asker, DEFAULT.slot)

    async def _list_of_slot(self, asker: _Asker, slot: str) -> tuple[RankedList, bool]:
        """The ordered list, and whether it came from the cache. An entry counts only while the user's version, the
        model version and the catalogue are those that it was made with, so that a hit is never stale."""
        request, user_id, features = asker
        key = None
        model_and_catalogue = (self._versions.get(slot), self._catalogue.version)
        if features is not None and features.version > 0:
            key = (user_id, slot, *model_and_catalogue, request.model_dump_json(exclude={"user_id", "preview"}))
            cached = self._cache.get(key, features.version)
            if cached is not None:
                return cached, True
        asked = time.perf_counter()
        found = await self._candidates.find(slot, request, user_id, features)
        answered = time.perf_counter()
        self._stages.retrieval.observe(answered - asked)
        ranked = await self._order(request, found)
        self._stages.ranking.observe(time.perf_counter() - answered)
        # The retrieval replica may still see an older catalogue or model than this one: such a list is right now, but
        # must not be kept under the newer key.
        made_with = (ranked.model_version, ranked.catalogue_version)
        if key is not None and features is not None and not ranked.cold_start and made_with == model_and_catalogue:
            self._cache.put(key, features.version, ranked)
        return ranked, False

    async def _order(self, request: RecommendRequest, found: Found) -> RankedList:
        """Order the candidates, and write the list out here, so that one from the cache is written only once."""
        if found.reply.catalogue_version > self._catalogue.version:
            # A new item may be on the list already: its title must be known here too.
            await self._refresh_catalogue()
        pooled = self.settings.serving.exploration > 0
        ranked = rank(found.reply, found.answer, found.learned, request.top_k, request.diversity, pooled)
        return ranked._replace(shown=self._dressed(request, ranked))

    def _dressed(self, request: RecommendRequest, ranked: RankedList) -> bytes:
        return orjson.dumps(dress(ranked, self._catalogue.items, request.explain))

    # 5. Exposure

    async def _log_exposure(
        self, asker: _Asker, assigned: Assigned, ranked: RankedList, recommendation_id: str
    ) -> bool:
        """Log what is about to be shown, durably; False when the store does not answer, refuses, or has no room."""
        if self._no_room or not self._watch.store_answers or time.monotonic() < self._writes_due:
            return False
        context, features = asker.request.context, asker.features
        exposure = Exposure(
            recommendation_id=recommendation_id,
            user_id=asker.user_id,
            time_ms=clock.now_ms(),
            model_version=ranked.model_version,
            variant=assigned.variant,
            experiment=assigned.experiment,
            item_ids=tuple(ranked.item_ids),
            propensities=ranked.propensities,
            scores=tuple(ranked.scores),
            context=context,
            simulated=is_simulated(context),
            forced=assigned.forced,
            before=events_before(features.fields) if features and assigned.experiment else 0,
        )
        try:
            await self._store.log_exposures([exposure])
        except StoreError as error:
            logger.warning("the exposure %s was not logged: %r", recommendation_id, error)
            if isinstance(error, StoreUnavailable):
                self._writes_due = time.monotonic() + WRITE_REST_S
            return False
        return True

    def _count(self, ranked: RankedList, hit: bool, degraded: bool, logged: bool) -> None:
        counts = self.metrics.counts
        if not logged:
            counts["exposures_lost"] += 1
        if hit:
            counts["cache_hits"] += 1
        elif ranked.sources and ranked.sources[0] == "fold_in":
            counts["fold_ins"] += 1
        if ranked.cold_start:
            counts["cold_starts"] += 1
        if degraded:
            counts["degraded"] += 1

    async def _beat(self) -> None:
        self._look_at_disk()
        await self.metrics.flush()

    def _look_at_disk(self) -> None:
        space = read_disk_space(self.settings)
        self._no_room = space is not None and space.refuses

    # The serving state

    async def _follow_slots(self) -> None:
        slots = await read_slots(self._client, self._keys)
        await self._candidates.follow(slots)
        champion = slots.get(CHAMPION)
        if champion is not None and champion.version != self._versions.get(CHAMPION):
            try:
                self._user_id_type = (await asyncio.to_thread(read_manifest, champion.path)).user_id_type
            except BundleError as error:
                logger.warning("the manifest of %s cannot be read: %s", champion.version, error)
        self._versions = {name: slot.version for name, slot in slots.items()}
        await self._assignment.follow()

    async def _refresh_catalogue(self) -> None:
        """Refresh within a request. Without the store the list stays as it is, at worst without a new title."""
        try:
            await self._catalogue.refresh()
        except StoreError as error:
            logger.warning("the catalogue is older than the list: %r", error)

    async def _follow_catalogue(self) -> None:
        await self._catalogue.refresh()

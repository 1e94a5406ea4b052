"""Retrieval: the model of one slot, its index, candidates for a micro-batch of users, and their features."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from configs import clock
from configs.event_types import EventTypes, load_event_types
from configs.settings import Settings
from data.dataset import id_types, processed_dir
from deployments.operations.similar_items import Similar
from deployments.recommend.history_parts import (
    UserEvents,
    events_of_users,
    latest_rows_of_users,
    past_of_users,
    split_rows,
)
from deployments.recommend.loaded_model import DAY, WEEK, LoadedModel, load_model
from deployments.recommend.messages import Question, Reply
from deployments.recommend.near.follower import NearFollower, exchange, follower_of
from deployments.recommend.ranker_features import Asker
from deployments.recommend.without_model import WithoutModel
from deployments.replica.control_watch import ControlWatch
from features.items.catalogue import Catalogue, Item
from features.items.trending import Popularity, Standing, read_popularity, read_standing
from features.redis.connection import connect
from features.redis.errors import StoreError
from features.redis.layout import keys_of
from features.serving.replicas import ReplicaReport, report_replica
from features.serving.slots import CHAMPION, Slot, read_slots
from features.users.erasure import Erasures, read_erasures
from features.users.history import decode_histories
from models.bundle.arrays import BundleError
from models.compiled import compile_all
from models.content.description import TEXT_READ
from models.factors.interest import aggregate_interest
from models.ranking.features import latest_distinct, moment
from models.relations.more_sources import LATEST
from models.relations.past_events import NO_PAST
from models.retrieval.exclusion import left_out
from models.retrieval.query import Query
from models.sequence.histories import sequence_of

logger = logging.getLogger("ray.serve")
TRENDING_DEPTH = 400
"""How many of the strongest items are read of each partition where only cold starts need them; a ranker needs all."""
_NOTHING = np.empty(0, np.int64)


class Retrieval:
    """Answers micro-batches from the slot's model. It looks for a new version several times a second, loads it aside,
    warms it, and swaps one reference; a bundle that fails verification is refused, and the old model keeps serving.

    Args:
        slot: the name of the slot, such as "champion".
        settings: where the store is, how often it is looked at, and how much the prior counts.
    """

    def __init__(self, slot: str, settings: Settings) -> None:
        self.slot = slot
        self.settings = settings
        self._types: EventTypes = load_event_types(settings.data.events)
        self._client = connect(settings.store, settings.store_url)
        self._keys = keys_of(settings.store)
        self._catalogue = Catalogue(self._client, self._keys, text_chars=TEXT_READ)
        self._loaded: LoadedModel | None = None
        self._near: NearFollower | None = None
        self._without_model = WithoutModel(self._types, id_types(processed_dir(settings))[1])
        self._slot_value: Slot | None = None
        self._slot_known = asyncio.Event()
        self._refused: str | None = None
        self._erasures = Erasures({})
        self._standing = Standing(0, None)
        self._popularity: dict[str, Popularity] = {}  # by window; that of what is trending comes first
        self._shown_version = 0  # of the catalogue, as far as the model has taken it over
        self._missed: dict[str, Item] | None = None  # what changed in the catalogue while a model loads; else None
        self._watch = ControlWatch(
            self._client,
            self._keys,
            settings.serving.watch_s,
            on_slots=self._follow_slot,
            on_catalogue=self._follow_catalogue,
            on_erasures=self._follow_erasures,
            on_interval=(settings.serving.trending_s, self._follow_trends),
        )

    async def start(self) -> None:
        """Load what there is, then watch. The replica calls this before it counts as ready."""
        await asyncio.to_thread(compile_all)
        await self._watch.start()
        # While the store is silent it is not known what to load: a replica without a model must not get requests.
        await self._slot_known.wait()

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self._watch.stop()
        await exchange(self._near, None)

    def check_health(self) -> None:
        self._watch.check_health()

    async def retrieve(self, questions: list[Question]) -> Reply:
        """Candidates for each question, in order."""
        loaded = self._loaded
        if loaded is None and self.slot == CHAMPION and self._slot_value is None:
            catalogue = self._catalogue
            return self._without_model.reply(questions, catalogue.items, catalogue.version, self._popularity.values())
        if loaded is None:
            return Reply(None, "str", 0, [])
        model, catalogue_version = loaded.model, self._shown_version
        queries, histories, listed, newest_ms = self._queries(loaded, questions)
        found = model.retrieve(queries, loaded.shelf, loaded.near)
        answers = [
            loaded.answer(question, query, candidates)
            for question, query, candidates in zip(questions, queries, found, strict=True)
        ]
        said = model.version, model.manifest.item_id_type, catalogue_version, answers
        if loaded.block is None:
            return Reply(*said)
        at_ms = moment(time.time() * 1000, newest_ms)
        askers = [
            Asker(history, query.items, question.affinities, past=query.past, latest_rows=query.latest_rows)
            for history, query, question in zip(histories, queries, questions, strict=True)
        ]
        if loaded.block.reads_users:
            askers = [
                asker._replace(trained_user=self._trained_user(loaded, question.user_id))
                for asker, question in zip(askers, questions, strict=True)
            ]
        if loaded.block.matches_histories:
            askers = [
                asker._replace(events=events.items, amounts=events.amounts, times_ms=events.times_ms)
                for asker, events in zip(askers, listed(), strict=True)
            ]
        features = loaded.block.features(askers, found, at_ms, loaded.near)
        return Reply(*said, loaded.path, features, at_ms)

    async def similar(self, item_id: bytes, n: int) -> Similar:
        """The `n` items whose factors point most nearly the same way, by cosine."""
        loaded = self._loaded
        if loaded is None:
            return Similar(None, "str", False, [])
        found = loaded.similar(item_id, n)
        return Similar(loaded.model.version, loaded.model.manifest.item_id_type, found is not None, found or [])

    async def version(self) -> str | None:
        """The version that answers now; None where no model is loaded."""
        return self._loaded.model.version if self._loaded else None

    async def hold(self, seconds: float) -> None:
        """Wait, so that a call is under way: a deployment with one is not scaled to zero."""
        await asyncio.sleep(seconds)

    def _queries(
        self, loaded: LoadedModel, questions: list[Question]
    ) -> tuple[list[Query], list[np.ndarray], Callable[[], list[UserEvents]], float | None]:
        """Decode the histories of the batch and weigh them, all together.

        Returns:
            The queries, for each the positions of its history's events, as far as the model knows their items, a
            function that gives all events whose items are listed, with what they count, and the time of the newest
            event that is known: of these, or of anybody when the standing was read.
        """
        find = loaded.builder.table.find
        histories = decode_histories([question.history for question in questions])
        places = find(histories.item_ids, len(histories.codes))
        rows = np.repeat(np.arange(len(questions)), histories.sizes)
        listed = places >= 0
        in_model = listed & (places < loaded.model.n_items)
        interest = aggregate_interest(
            rows[listed],
            places[listed],
            histories.times_ms[listed],
            histories.codes[listed],
            histories.values[listed],
            self._types,
            loaded.model.manifest.weighting,
        )
        liked = interest.weights > 0
        speaks = liked & (interest.items < loaded.model.n_items)
        out = left_out(rows, places, histories.codes, self._types, interest)
        number = len(questions)
        events = split_rows(rows[in_model], places[in_model], number)
        items = split_rows(interest.users[speaks], interest.items[speaks], number)
        weights = split_rows(interest.users[speaks], interest.weights[speaks], number)
        refused = split_rows(out.refused_rows, out.refused_items, number)
        seen_items = split_rows(out.seen_rows, out.seen_items, number)
        new = liked & ~speaks
        new_items = split_rows(interest.users[new], interest.items[new], number)
        new_weights = split_rows(interest.users[new], interest.weights[new], number)
        latest_rows = [_NOTHING] * number
        if loaded.near is not None:
            latest_rows = latest_rows_of_users(loaded.near, self._types, histories, rows, places)
        past = [NO_PAST] * number
        if loaded.model.more.repeats or (loaded.block is not None and loaded.block.reads_repeats):
            past = past_of_users(self._types, histories, rows, places, in_model)
        queries, length = [], loaded.model.sequence_length
        for row, question in enumerate(questions):
            exclude = [refused[row]]
            if question.exclude_items:
                exclude.append(_known(find(b"\n".join(question.exclude_items), len(question.exclude_items))))
            if question.exclude_seen:
                exclude.append(seen_items[row])
                if question.older_seen:
                    exclude.append(_known(find(question.older_seen, question.older_seen.count(b"\n") + 1)))
            queries.append(
                Query(
                    items=items[row],
                    weights=weights[row],
                    exclude=np.concatenate(exclude),
                    n=question.n,
                    trained_user=-1 if question.history else self._trained_user(loaded, question.user_id),
                    include_categories=question.include_categories,
                    exclude_categories=question.exclude_categories,
                    new_items=new_items[row],
                    new_weights=new_weights[row],
                    recent=latest_distinct(events[row], LATEST, items[row]) if loaded.model.more.related else _NOTHING,
                    past=past[row],
                    sequence=sequence_of(events[row], items[row], length) if length else _NOTHING,
                    latest_rows=latest_rows[row],
                )
            )

        listed_events = partial(events_of_users, self._types, histories, rows, places, listed)
        known_ms = (self._standing.newest_ms, float(histories.times_ms.max()) if len(histories.times_ms) else None)
        newest_ms = max((one for one in known_ms if one is not None), default=None)
        return queries, events, listed_events, newest_ms

    def _trained_user(self, loaded: LoadedModel, user_id: bytes) -> int:
        """Row of the trained vector, -1 for a user who was not trained, or was erased since."""
        row = loaded.trained_user(user_id)
        if row >= 0 and self._erasures.covers(user_id.decode(), loaded.model.manifest.created_ms):
            return -1
        return row

    async def _follow_slot(self) -> None:
        value = (await read_slots(self._client, self._keys)).get(self.slot)
        serving = self._loaded.model.version if self._loaded else None
        self._slot_value = value
        if value is None:
            if self._loaded is not None:
                self._without_model.take(self._catalogue.items, list(self._catalogue.items.values()))
            self._loaded, self._refused = None, None
            await self._follow_near(None)
        elif value.version == serving:
            self._refused = None
        else:
            items = list(self._catalogue.items.values())
            missed: dict[str, Item] = {}
            self._missed = missed
            try:
                how = self.settings.serving
                loaded = await asyncio.to_thread(
                    load_model,
                    value,
                    how.prior_weight,
                    items,
                    lambda one: self._catalogue.items.get(one),
                    how.near_cells,
                )
            except (BundleError, OSError, FloatingPointError) as error:
                self._refused = f"{value.version}: {error}"
                logger.error("%s: bundle refused, serving %s on: %s", self.slot, serving or "nothing", error)
            else:
                await self._follow_near(loaded)
                while missed:
                    changed = list(missed.values())
                    missed.clear()
                    await loaded.take_all(changed)
                loaded.take_popularity(self._popularity)
                self._shown_version = self._catalogue.version
                self._loaded, self._refused = loaded, None
                self._without_model.forget()
                logger.warning("%s: serving %s (was %s)", self.slot, loaded.model.version, serving or "nothing")
            finally:
                self._missed = None
        self._slot_known.set()
        await self._report()

    async def _follow_near(self, loaded: LoadedModel | None) -> None:
        """Follow the events for the near counts of this model, where it has some, and no more for the one before."""
        before = self._near
        self._near = follower_of(self.settings, self._keys, loaded, self._types, self._erasures)
        await exchange(before, self._near)

    async def _follow_catalogue(self) -> None:
        changed = await self._catalogue.refresh()
        if self.slot == CHAMPION and self._loaded is None:
            self._without_model.take(self._catalogue.items, changed)
        if self._missed is not None:
            self._missed.update((item.item_id, item) for item in changed)
        if self._loaded is not None and changed:
            await self._loaded.take_all(changed)
            self._loaded.take_popularity(self._popularity)
        self._shown_version = self._catalogue.version

    async def _follow_erasures(self) -> None:
        self._erasures = await read_erasures(self._client, self._keys, self.settings.log_dir)

    async def _follow_trends(self) -> None:
        await self._report()
        standing = await read_standing(self._client, self._keys)
        loaded = self._loaded
        if loaded is not None:
            await loaded.catch_up_in_turns()
        ranks = loaded is not None and loaded.block is not None
        trending = (loaded.trending_window if loaded else None) or self.settings.serving.trending_window
        windows = list(dict.fromkeys([trending, WEEK, DAY])) if ranks else [trending]
        if standing == self._standing and list(self._popularity) == windows:
            return  # Nothing has happened since, and all that is needed is known.
        found = await read_popularity(self._client, self._keys, windows, None if ranks else TRENDING_DEPTH)
        self._popularity = dict(zip(windows, found, strict=True))
        self._standing = standing
        if self._loaded is not None:
            self._loaded.take_popularity(self._popularity)

    async def _report(self) -> None:
        serving = self._loaded.model if self._loaded else None
        report = ReplicaReport(
            deployment=f"retrieval-{self.slot}",
            time_ms=clock.now_ms(),
            model_version=serving.version if serving else None,
            wanted_version=self._slot_value.version if self._slot_value else None,
            problem=self._refused,
            catalogue_version=self._catalogue.version,
            index=serving.index.kind if serving else None,
            near_behind_s=None if self._near is None else round(self._near.behind_s, 1),
            near_problem=None if self._near is None else self._near.problem,
        )
        try:
            await report_replica(self._client, self._keys, self._watch.replica_id, report)
        except StoreError as error:
            logger.warning("%s: could not report: %s", self.slot, error)


def _known(places: np.ndarray) -> np.ndarray:
    return places[places >= 0]

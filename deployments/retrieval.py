"""Retrieval: the model of one slot, its index, candidates for a micro-batch of users, and their features."""

import asyncio
import logging
import time
from typing import NamedTuple

import numpy as np

from configs.event_types import EventTypes, load_event_types
from configs.settings import Settings
from deployments.ranker_block import NO_AFFINITIES, Affinities, Asker, RankerBlock
from deployments.watch import ControlWatch
from features.catalogue import Catalogue, Item
from features.connection import connect
from features.errors import StoreError
from features.history import decode_history
from features.keys import Keys
from features.replicas import ReplicaReport, report_replica
from features.retention import Erasures, read_erasures
from features.slots import Slot, read_slots
from features.trending import Popularity, Standing, read_popularity, read_standing
from models.bundle import Bundle, BundleError, load_bundle
from models.candidates import CandidateModel, Candidates, Query
from models.interest import aggregate_interest
from models.ranking_features import moment
from models.shelf import Shelf, ShelfBuilder, ShelfItem

logger = logging.getLogger("ray.serve")
WEEK, DAY = "7d", "1d"
TRENDING_DEPTH = 400
"""Strongest items asked of each partition where only cold starts need them; a ranker is told of all."""
REASONS = 3


class Question(NamedTuple):
    """One user's request, in the bytes that the online store holds: nothing is decoded twice on the way."""

    user_id: bytes
    history: bytes | None
    older_seen: bytes | None
    n: int
    exclude_seen: bool
    exclude_items: tuple[bytes, ...]
    include_categories: tuple[str, ...] | None
    exclude_categories: tuple[str, ...]
    affinities: Affinities = NO_AFFINITIES
    with_factors: bool = False
    with_reasons: bool = False


class Answer(NamedTuple):
    """Candidates, best first: ids joined by newlines, scores float32, sources uint8 (`models.candidates.Source`), and
    how many of them, from the first, a learned ranker orders.

    Where they were asked for: factors (k, f) float32, and for each candidate the history items that speak for it, with
    their shares.
    """

    item_ids: bytes
    scores: bytes
    sources: bytes
    cold_start: bool
    folded: int = 0
    factors: bytes = b""
    reasons: tuple[tuple[tuple[bytes, float], ...], ...] = ()


class Reply(NamedTuple):
    """Answers to a batch, all by one model version; None when the slot holds no usable model.

    For a version with a learned ranker: where its bundle lies, the candidate block of the features of all answers'
    first `folded` candidates (float32, `models.ranking_features.CANDIDATE_FEATURES`), and as of when (`at_ms`).
    """

    version: str | None
    item_id_type: str
    catalogue_version: int
    answers: list[Answer]
    bundle: str = ""
    features: bytes = b""
    at_ms: float = 0.0


class Similar(NamedTuple):
    """Neighbours of one item, with their cosines; `known` is False for an item that neither model nor catalogue has."""

    version: str | None
    item_id_type: str
    known: bool
    items: list[tuple[bytes, float]]


class _Loaded:
    """A model and the shelf that belongs to its vocabulary; swapped by one reference."""

    def __init__(self, bundle: Bundle, prior_weight: float, items: list[Item]) -> None:
        self.model = CandidateModel(bundle, prior_weight)
        self.path = str(bundle.path)
        self.builder = ShelfBuilder(
            [item_id.encode() for item_id in bundle.item_ids.tolist()], bundle.item_counts, bundle.item_factors
        )
        self.block = None if bundle.ranking is None else RankerBlock(bundle.ranking, bundle.item_factors)
        self._user_ids = np.array([user_id.encode() for user_id in bundle.user_ids.tolist()], "S")
        self._user_order = np.argsort(self._user_ids, kind="stable")
        self.take_items(items)

    def take_items(self, items: list[Item]) -> None:
        """Take over changes of the catalogue."""
        self.builder.update([_shelf_item(item) for item in items])
        self.shelf: Shelf = self.builder.shelf()
        if self.block is not None:
            self.block.take_shelf(self.shelf, self.builder.extra_added_ms())

    def take_popularity(self, popularity: list[Popularity]) -> None:
        """Take over what is popular now: by a half-life of 7 days, and for a ranker by one of 1 day too."""
        if not popularity:
            return  # not read yet
        shares = [self._shares(one) for one in popularity]
        self.builder.set_trending(*shares[0])
        self.shelf = self.builder.shelf()
        if self.block is not None and len(shares) == 2:
            week, day = shares
            self.block.take_popularity(day, week)

    def _shares(self, popularity: Popularity) -> tuple[np.ndarray, np.ndarray]:
        places = self.builder.places(popularity.item_ids)
        known = places >= 0
        leader = float(popularity.weights.max(initial=0.0)) or 1.0
        return places[known], popularity.weights[known] / leader

    def trained_user(self, user_id: bytes) -> int:
        """Row of the trained user factors, or -1."""
        if not len(self._user_ids):
            return -1
        place = np.searchsorted(self._user_ids, user_id, sorter=self._user_order)
        if place == len(self._user_ids):
            return -1
        row = int(self._user_order[place])
        return row if self._user_ids[row] == user_id else -1


class Retrieval:
    """Answers micro-batches from the slot's model. Looks for a new version several times a second, loads it aside,
    warms it, and swaps one reference; a bundle that fails verification is refused, and the old model keeps serving.

    Args:
        slot: "champion" or "challenger".
        settings: of the platform.
    """

    def __init__(self, slot: str, settings: Settings) -> None:
        self.slot = slot
        self.settings = settings
        self._types: EventTypes = load_event_types(settings.data.events)
        self._client = connect(settings.store, settings.store_url)
        self._keys = Keys(settings.store.prefix, settings.store.partitions)
        self._catalogue = Catalogue(self._client, self._keys)
        self._loaded: _Loaded | None = None
        self._slot_value: Slot | None = None
        self._slot_known = asyncio.Event()
        self._refused: str | None = None
        self._erasures = Erasures({})
        self._standing = Standing(0, None)
        self._popularity: list[Popularity] = []
        self._missed: list[Item] = []  # catalogue changes that arrived while a model was loading
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
        """Load what there is, then watch. Called by the replica before it counts as ready."""
        await self._watch.start()
        # While the store is silent it is not known what to load: a replica without a model must not get requests.
        await self._slot_known.wait()

    async def stop(self) -> None:
        await self._watch.stop()

    def check_health(self) -> None:
        self._watch.check_health()

    async def retrieve(self, questions: list[Question]) -> Reply:
        """Candidates for each question, in order."""
        loaded = self._loaded
        if loaded is None:
            return Reply(None, "str", 0, [])
        model, catalogue_version = loaded.model, self._catalogue.version
        queries, histories = self._queries(loaded, questions)
        found = model.retrieve(queries, loaded.shelf)
        answers = [
            self._answer(loaded, question, query, candidates)
            for question, query, candidates in zip(questions, queries, found, strict=True)
        ]
        if loaded.block is None:
            return Reply(model.version, model.manifest.item_id_type, catalogue_version, answers)
        at_ms = moment(time.time() * 1000, self._standing.newest_ms)
        askers = [
            Asker(history, query.items, question.affinities)
            for history, query, question in zip(histories, queries, questions, strict=True)
        ]
        features = loaded.block.features(askers, found, at_ms)
        return Reply(
            model.version, model.manifest.item_id_type, catalogue_version, answers, loaded.path, features, at_ms
        )

    async def similar(self, item_id: bytes, n: int) -> Similar:
        """Items whose factors point the same way."""
        loaded = self._loaded
        if loaded is None:
            return Similar(None, "str", False, [])
        item_id_type = loaded.model.manifest.item_id_type
        position = loaded.builder.position.get(item_id)
        if position is None:
            return Similar(loaded.model.version, item_id_type, False, [])
        items, cosines = loaded.model.similar(position, n, loaded.shelf)
        ids = [loaded.builder.ids[place] for place in items.tolist()]
        return Similar(loaded.model.version, item_id_type, True, list(zip(ids, cosines.tolist(), strict=True)))

    async def version(self) -> str | None:
        """The version that answers now; None for none."""
        return self._loaded.model.version if self._loaded else None

    async def hold(self, seconds: float) -> None:
        """Be busy doing nothing: a deployment with a call under way is not scaled to zero."""
        await asyncio.sleep(seconds)

    def _answer(self, loaded: _Loaded, question: Question, query: Query, candidates: Candidates) -> Answer:
        ids = loaded.builder.ids
        factors, reasons = b"", []
        if question.with_factors:
            factors = loaded.model.factors_of(candidates.items, loaded.shelf).tobytes()
        if question.with_reasons:
            explained = loaded.model.explain(query, candidates.items, REASONS)
            reasons = [tuple((ids[place], share) for place, share in found) for found in explained]
        return Answer(
            b"\n".join([ids[place] for place in candidates.items.tolist()]),
            candidates.scores.astype("<f4").tobytes(),
            candidates.sources.tobytes(),
            candidates.cold_start,
            candidates.folded,
            factors,
            tuple(reasons),
        )

    def _queries(self, loaded: _Loaded, questions: list[Question]) -> tuple[list[Query], list[np.ndarray]]:
        """Decode the histories of the batch and weigh them together, in one pass.

        Returns:
            the queries, and for each the positions of its history's events, those that the model knows.
        """
        position = loaded.builder.position
        rows, items, times, values, codes = [], [], [], [], []
        seen_only: list[np.ndarray] = []
        for row, question in enumerate(questions):
            history = decode_history(question.history)
            places = np.array([position.get(item, -1) for item in history.item_ids], np.int64)
            in_model = (places >= 0) & (places < loaded.model.n_items)
            rows.append(np.full(int(in_model.sum()), row))
            items.append(places[in_model])
            times.append(history.times_ms[in_model])
            values.append(history.values[in_model])
            codes.append(history.codes[in_model])
            seen_only.append(places[(places >= 0) & self._types.seen_codes[history.codes]])
        interest = aggregate_interest(
            np.concatenate(rows),
            np.concatenate(items),
            np.concatenate(times),
            np.concatenate(codes),
            np.concatenate(values),
            self._types,
            loaded.model.manifest.weighting,
        )
        edges = np.searchsorted(interest.users, np.arange(len(questions) + 1))
        queries = []
        for row, question in enumerate(questions):
            mine = slice(edges[row], edges[row + 1])
            weights = interest.weights[mine]
            exclude = [position[item] for item in question.exclude_items if item in position]
            # What the user refused stays away, even where seen items may come back.
            parts = [interest.items[mine][interest.refused[mine]], np.array(exclude, np.int64)]
            if question.exclude_seen:
                parts.append(seen_only[row])
                if question.older_seen:
                    older = [position.get(item, -1) for item in question.older_seen.split(b"\n")]
                    parts.append(np.array([place for place in older if place >= 0], np.int64))
            queries.append(
                Query(
                    items=interest.items[mine][weights > 0],
                    weights=weights[weights > 0],
                    exclude=np.concatenate(parts),
                    n=question.n,
                    trained_user=-1 if question.history else self._trained_user(loaded, question.user_id),
                    include_categories=question.include_categories,
                    exclude_categories=question.exclude_categories,
                )
            )
        return queries, items

    def _trained_user(self, loaded: _Loaded, user_id: bytes) -> int:
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
            self._loaded, self._refused = None, None
        elif value.version == serving:
            self._refused = None
        else:
            items = list(self._catalogue.items.values())
            self._missed = []
            try:
                loaded = await asyncio.to_thread(self._load, value, items)
            except (BundleError, OSError, FloatingPointError) as error:
                self._refused = f"{value.version}: {error}"
                logger.error("%s: bundle refused, serving %s on: %s", self.slot, serving or "nothing", error)
            else:
                if self._missed:
                    loaded.take_items(self._missed)
                loaded.take_popularity(self._popularity)
                self._loaded, self._refused = loaded, None
                logger.warning("%s: serving %s (was %s)", self.slot, loaded.model.version, serving or "nothing")
        self._slot_known.set()
        await self._report()

    def _load(self, slot: Slot, items: list[Item]) -> _Loaded:
        """Load, verify and warm a bundle. In a thread: the old model answers meanwhile."""
        bundle = load_bundle(slot.path)
        if bundle.manifest.version != slot.version:
            raise BundleError(f"{slot.path} holds version {bundle.manifest.version}, the slot names {slot.version}")
        loaded = _Loaded(bundle, self.settings.serving.prior_weight, items)
        model = loaded.model
        warm = Query(np.arange(min(3, model.n_items)), np.ones(min(3, model.n_items), np.float32), np.empty(0, int), 10)
        found = model.retrieve([warm], loaded.shelf)
        if loaded.block is not None:
            loaded.block.features([Asker(warm.items, warm.items, NO_AFFINITIES)], found, 0.0)
        return loaded

    async def _follow_catalogue(self) -> None:
        changed = await self._catalogue.refresh()
        self._missed.extend(changed)
        if self._loaded is not None and changed:
            self._loaded.take_items(changed)
            self._loaded.take_popularity(self._popularity)

    async def _follow_erasures(self) -> None:
        self._erasures = await read_erasures(self._client, self._keys)

    async def _follow_trends(self) -> None:
        await self._report()
        standing = await read_standing(self._client, self._keys)
        ranks = self._loaded is not None and self._loaded.block is not None
        if standing == self._standing and len(self._popularity) == 1 + ranks:
            return  # nothing has happened since, and all that is asked for is known
        windows, depth = ([WEEK, DAY], None) if ranks else ([WEEK], TRENDING_DEPTH)
        self._popularity = await read_popularity(self._client, self._keys, windows, depth)
        self._standing = standing
        if self._loaded is not None:
            self._loaded.take_popularity(self._popularity)

    async def _report(self) -> None:
        serving = self._loaded.model if self._loaded else None
        report = ReplicaReport(
            deployment=f"retrieval-{self.slot}",
            time_ms=int(time.time() * 1000),
            model_version=serving.version if serving else None,
            wanted_version=self._slot_value.version if self._slot_value else None,
            problem=self._refused,
            catalogue_version=self._catalogue.version,
            index=serving.index.kind if serving else None,
        )
        try:
            await report_replica(self._client, self._keys, self._watch.replica_id, report)
        except StoreError as error:
            logger.warning("%s: could not report: %s", self.slot, error)


def _shelf_item(item: Item) -> ShelfItem:
    return ShelfItem(item.item_id.encode(), item.categories, item.recommendable, item.created_ms)

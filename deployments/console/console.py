"""Console: the ingress of `console`. Health, users and items, all from the online store, so any replica answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import interaction_files, processed_dir
from data.event_log import EventLog
from deployments.access.access import Access
from deployments.access.routes import KeyRoom
from deployments.catalogue.answers import CatalogueView
from deployments.catalogue.items import Items
from deployments.catalogue.typed_ids import IdTypes
from deployments.catalogue.users import Users
from deployments.console.data_view import DataState
from deployments.console.snapshot import ConsoleSnapshot
from deployments.operations.experiments.control import AskVersion, ExperimentControl, Hold
from deployments.operations.health import HealthProbe
from deployments.operations.model_versions import ModelVersions
from deployments.operations.monitor_routes import Operations
from deployments.operations.similar_items import Similar
from deployments.replica.control_watch import ControlWatch
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.disk_space import require_room
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION, read_slots
from models.bundle.arrays import BundleError
from models.bundle.reading import read_manifest

logger = logging.getLogger("ray.serve")


class Console:
    """Answers questions about users, items, experiments and models, for people and for other programs.

    Args:
        settings: where the store, the log and the bundles are.
        ask_similar: asks the champion's `Retrieval` for the neighbours of an item.
        ask_version, hold: see `ExperimentControl`.
    """

    def __init__(
        self,
        settings: Settings,
        ask_similar: Callable[[bytes, int], Awaitable[Similar]],
        ask_version: AskVersion,
        hold: Hold,
    ) -> None:
        self.settings = settings
        types = load_event_types(settings.data.events)
        self._client = connect(settings.store, settings.store_url_of("console"))
        self._keys = keys_of(settings.store)
        store = OnlineStore(self._client, self._keys, settings.store, types)
        self.ids = IdTypes()
        log = EventLog(settings.log_dir)
        dataset = processed_dir(settings)
        self.items = Items(
            self._client,
            self._keys,
            types,
            self.ids,
            ask_similar,
            lambda: interaction_files(dataset) + log.event_files(),
            lambda: require_room(settings),
        )
        self.users = Users(store, log, self.ids, self.items)
        self.data = DataState(settings, self._client, self._keys, self.ids, self.items.title)
        self.access = Access(settings, self._client, self._keys)
        self.keys = KeyRoom(settings.security, self._client, self._keys)
        self.health = HealthProbe(settings, self._client, self._keys)
        self.operations = Operations(settings, self._client, self._keys)
        self.models = ModelVersions(settings, self._client, self._keys)
        self.snapshot = ConsoleSnapshot(settings, self._client, self._keys, self.health, self.operations.monitor)
        self.experiments = ExperimentControl(settings, store, ask_version, hold)
        self._watch = ControlWatch(
            self._client,
            self._keys,
            settings.serving.watch_s,
            on_slots=self._follow_slots,
            on_catalogue=self.items.follow,
            on_traffic=self.experiments.follow,
            on_access=self.access.follow,
            on_interval=(1.0, self.experiments.tick),
        )

    async def start(self) -> None:
        await self._watch.start()

    async def stop(self) -> None:
        """Follow nothing any more, and hang up."""
        await self._watch.stop()
        await self.access.aclose()
        await self._client.aclose()

    def check_health(self) -> None:
        self._watch.check_health()

    async def describe(self) -> CatalogueView:
        """What items and users there are, and which attributes they may carry."""
        return CatalogueView(
            version=self.items.catalogue.version, items=self.items.summary(), users=await self.users.summary()
        )

    async def _follow_slots(self) -> None:
        champion = (await read_slots(self._client, self._keys)).get(CHAMPION)
        if champion is not None and (self.ids.manifest is None or self.ids.manifest.version != champion.version):
            try:
                self.ids.manifest = await asyncio.to_thread(read_manifest, champion.path)
            except BundleError as error:
                # Health tells of it. What is known stays right, since the model before serves on.
                logger.warning("the manifest of %s cannot be read: %s", champion.version, error)

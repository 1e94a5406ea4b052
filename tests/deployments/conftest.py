"""A real store for what the deployments keep in it, and autopilots that look at it."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, Store
from deployments.autopilot import alerts
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.redis.layout import keys_of
from tests.deployments.jobs_api import JobsApi
from tests.deployments.pilots import Pilots
from tests.deployments.webhook_receiver import Receiver
from tests.features.servers import Server, valkey_binary


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The bundled Valkey."""
    started = Server(valkey_binary(), tmp_path_factory.mktemp("store"))
    yield started
    started.stop()


@pytest.fixture
def store_settings(server: Server) -> Store:
    """A store of this test's own. On a busy machine an answer takes longer than whoever serves would wait."""
    return Store(url=server.url, prefix=f"t{uuid.uuid4().hex[:12]}", partitions=4, timeout_s=10)


@pytest.fixture
def keys(store_settings: Store) -> Keys:
    return keys_of(store_settings)


@pytest.fixture
async def client(store_settings: Store, server: Server) -> AsyncIterator[StoreClient]:
    opened = connect(store_settings, server.url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def impatient(store_settings: Store, server: Server) -> AsyncIterator[StoreClient]:
    """A client that soon gives up a store which is silent: the tests of that wait no longer."""
    opened = connect(store_settings.model_copy(update={"timeout_s": 1}), server.url)
    yield opened
    await opened.aclose()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(alerts, "FIRST_WAIT_S", 0.01)
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def jobs() -> Iterator[JobsApi]:
    api = JobsApi()
    yield api
    api.close()


@pytest.fixture
def settings_of(tmp_path: Path, store_settings: Store, jobs: JobsApi) -> Callable[..., Settings]:
    def make(**autopilot: Any) -> Settings:
        given = {"jobs_address": jobs.address, "mode": "act", "new_events": 0, "cooldown_s": 0, **autopilot}
        return Settings(
            state_dir=tmp_path,
            store=store_settings.model_dump(),
            autopilot=given,
            tracking={"uri": f"sqlite:///{tmp_path}/none.db"},
        )

    return make


@pytest.fixture
def pilots(settings_of: Callable[..., Settings], client: StoreClient, keys: Keys) -> Callable[..., Pilots]:
    return lambda **autopilot: Pilots(settings_of(**autopilot), client, keys)

"""A real store for what the deployments keep in it."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from configs.settings import Store
from deployments import alerts
from features.connection import StoreClient, connect
from features.keys import Keys
from features.layout import keys_of
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
    """A store of this test's own."""
    return Store(url=server.url, prefix=f"t{uuid.uuid4().hex[:12]}", partitions=4)


@pytest.fixture
def keys(store_settings: Store) -> Keys:
    return keys_of(store_settings)


@pytest.fixture
async def client(store_settings: Store, server: Server) -> AsyncIterator[StoreClient]:
    opened = connect(store_settings, server.url)
    yield opened
    await opened.aclose()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(alerts, "FIRST_WAIT_S", 0.01)
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()

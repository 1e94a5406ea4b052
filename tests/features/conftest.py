"""The online store on three backends.

Every test of a `store` runs on the bundled Valkey. Files below also run on Redis, or on a cluster, each time: there the
backend may make a difference. The rest of the matrix has the marker `matrix`.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from configs.event_types import load_event_types
from configs.settings import Store
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from tests.features.servers import Server, cluster, redis_binary, valkey_binary

BACKENDS = ("valkey", "redis", "cluster")
ALWAYS = {
    "redis": ("recording/test_online_store.py", "redis/"),
    # Commands that touch several keys, which a cluster takes only when they lie in one slot.
    "cluster": (
        *("recording/test_online_store.py", "experiments/test_counts.py", "users/test_erasure.py", "redis/"),
        "serving/test_serving_state.py",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        file = item.nodeid.partition("::")[0]
        backend = getattr(item, "callspec", None) and item.callspec.params.get("url")  # type: ignore[attr-defined]
        if backend in ALWAYS and not any(f"tests/features/{part}" in file for part in ALWAYS[backend]):
            item.add_marker(pytest.mark.matrix)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """Addresses of the backends that this session has asked for."""
    with ExitStack() as stack:
        yield _Servers(stack)


class _Servers(dict[str, str]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rc-store-")))

    def __missing__(self, backend: str) -> str:
        folder = self._folder / backend
        if backend == "cluster":
            self[backend] = self._stack.enter_context(cluster(valkey_binary(), folder))
            return self[backend]
        binary = valkey_binary() if backend == "valkey" else redis_binary()
        server = Server(binary, folder)
        self._stack.callback(server.stop)
        self[backend] = server.url
        return server.url


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, servers: dict[str, str]) -> str:
    """The address of each backend in turn."""
    return servers[request.param]


@pytest.fixture
def valkey_url(servers: dict[str, str]) -> str:
    """The bundled Valkey alone, where the backend makes no difference."""
    return servers["valkey"]


@pytest.fixture
def limits() -> Store:
    """Settings of the store: small bounds, so that tests reach them, and the patience that a busy machine needs."""
    return Store(partitions=4, history_limit=50, seen_limit=20, timeout_s=10)


async def open_store(url: str, limits: Store) -> OnlineStore:
    """A store on an emptied backend. It waits for answers as long as a machine with much to do may take."""
    client = connect(limits.model_copy(update={"timeout_s": 10}), url)
    await client.raw.flushall()
    return OnlineStore(client, keys_of(limits), limits, load_event_types("movies"))


@pytest.fixture
async def store(url: str, limits: Store) -> AsyncIterator[OnlineStore]:
    """An empty store on each backend."""
    opened = await open_store(url, limits)
    yield opened
    await opened.client.aclose()


@pytest.fixture
async def valkey_store(valkey_url: str, limits: Store) -> AsyncIterator[OnlineStore]:
    """An empty store on the bundled Valkey."""
    opened = await open_store(valkey_url, limits)
    yield opened
    await opened.client.aclose()

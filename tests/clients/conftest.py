"""The real HTTP applications for the clients: open to anybody, and with keys, tokens and another origin's pages."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from raycommend_client import Client, Retry

from configs.groups.access import Jwt, Security
from configs.settings import Store
from deployments.http.api_keys import make_key
from tests.clients.faulty import Api, served
from tests.clients.shop import Shop
from tests.deployments.access.test_tokens import AUDIENCE, ISSUER, RSA, jwks
from tests.features.servers import VOLATILE, Server, valkey_binary

QUICK = Retry(first_wait_s=0.02, longest_wait_s=0.1, total_s=20)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(valkey_binary(), tmp_path_factory.mktemp("store"), VOLATILE)
    yield started
    started.stop()


def _settings(server: Server) -> Store:
    return Store(url=server.url, prefix=f"t{uuid.uuid4().hex[:12]}", partitions=4, timeout_s=10)


@pytest.fixture(scope="session")
def open_api(store: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with served(tmp_path_factory.mktemp("open"), _settings(store)) as found:
        yield found


@pytest.fixture
def api(open_api: Api) -> Api:
    """The applications, before which nothing goes wrong until the test says so."""
    open_api.faults.reset()
    return open_api


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.url, retry=QUICK) as found:
        yield found


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    found = Shop()
    yield found
    found.server.shutdown()
    found.server.server_close()


@dataclass(frozen=True)
class Guarded:
    """Applications that ask who calls, and that pages of the shop may ask. The shop's key reaches lists and events."""

    api: Api
    shop_key: str
    admin_key: str


@pytest.fixture(scope="session")
def guarded(store: Server, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "jwks.json").write_bytes(jwks(RSA))
    shop_key, of_shop = make_key("shop", ["recommend", "events"], None)
    admin_key, admin = make_key("operator", ["admin"], None)
    tokens = Jwt(keys=str(folder / "jwks.json"), issuer=ISSUER, audience=AUDIENCE, user_claim="user_id")
    with served(
        folder, _settings(store), Security(keys=(of_shop, admin), jwt=tokens, cors_origins=(shop.origin,))
    ) as found:
        yield Guarded(found, shop_key, admin_key)


@pytest.fixture
def user() -> str:
    """Whom no other test knows."""
    return f"u-{uuid.uuid4().hex[:8]}"

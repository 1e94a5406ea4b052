"""What the health says, of a real store and of registries that are away."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from configs.settings import Settings, Store
from deployments.operations.health import HealthProbe
from deployments.operations.model_registry import ModelRegistry, RegistryAway
from features.redis.connection import StoreClient
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "uri",
    ["http://ada:s3cret@127.0.0.1:1", "http://s3cret@127.0.0.1:1/?token=s3cret", "postgresql://ada:s3cret@db/mlflow"],
)
async def test_no_password_of_the_registry_is_told(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys, uri: str
) -> None:
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": uri})
    told = (await HealthProbe(settings, client, keys).check()).model_dump_json()
    assert uri.rpartition("@")[2].partition("/")[0] in told
    registry = ModelRegistry(settings)
    with pytest.raises(RegistryAway) as refused:
        await registry.versions()
    assert "s3cret" not in f"{told} {refused.value} {registry.web_url} {await registry.problem()}"


@pytest.fixture
def registry_server() -> Iterator[str]:
    """Answers whatever it is asked with an empty object, as an empty registry does."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_no_proxy_of_the_environment_stands_between_the_parts(
    tmp_path: Path,
    store_settings: Store,
    client: StoreClient,
    keys: Keys,
    registry_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": registry_server})
    found = (await HealthProbe(settings, client, keys).check()).components["registry"]
    assert (found.status, found.detail) == ("ok", f"{registry_server} answers")
    assert await ModelRegistry(settings).versions() == {}

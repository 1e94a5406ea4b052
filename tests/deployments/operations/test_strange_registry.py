"""A registry that somebody else runs: what it says is shown, or said to be nonsense, and never decides what serves."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, Store
from deployments.operations.model_registry import ModelRegistry, RegistryAway
from deployments.operations.model_versions import ModelVersions
from deployments.recommend.retrieval import Retrieval
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import PromotionError, promote, set_slot
from features.serving.slots import CHAMPION, read_slots
from models.bundle.writing import write_bundle
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio


class Registry:
    """Answers every question with `answer`."""

    def __init__(self) -> None:
        self.answer: Any = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                body = json.dumps(registry.answer).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    yield found
    found.close()


@pytest.fixture
def settings(tmp_path: Path, store_settings: Store, registry: Registry) -> Settings:
    return Settings(state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": registry.uri})


@pytest.mark.parametrize(
    "answer",
    [[], "text", 7, None, {"model_versions": 7}, {"model_versions": [7]}, {"model_versions": [{"tags": [{"a": 1}]}]},
     {"model_versions": [{"tags": [{"key": "bundle_version", "value": "v"}]}]},
     {"registered_models": [{"aliases": [{}]}]}, {"registered_models": {"a": 1}}],
)  # fmt: skip
async def test_nonsense_is_called_so(settings: Settings, registry: Registry, answer: Any) -> None:
    registry.answer = answer
    with pytest.raises(RegistryAway, match="answers what no MLflow answers"):
        await ModelRegistry(settings).versions()


@pytest.mark.parametrize("place", ["file:///etc", "http://127.0.0.1:9/bundle", "../../../etc"])
async def test_a_registry_that_points_elsewhere_moves_nothing(
    settings: Settings, registry: Registry, client: StoreClient, keys: Keys, place: str
) -> None:
    path = write_bundle(settings.bundles_dir, contents(), fields(), NOW_MS)
    await set_slot(client, keys, CHAMPION, path.name, str(path), "a test")
    entry = {"version": "1", "source": place, "tags": [{"key": "bundle_version", "value": place}]}
    registry.answer = {
        "model_versions": [entry],
        "registered_models": [{"aliases": [{"alias": "champion", "version": "1"}]}],
    }
    shown = await ModelVersions(settings, client, keys).answer()
    assert {name: slot.version for name, slot in shown.slots.items()} == {CHAMPION: path.name}
    with pytest.raises(PromotionError, match="there is no version"):
        await promote(client, keys, settings.bundles_dir, place, "it says so", CHAMPION)
    assert (await read_slots(client, keys))[CHAMPION].version == path.name


@pytest.mark.parametrize("place", ["file:///etc", "http://127.0.0.1:9/bundle", "/dev/null", "../../../etc"])
async def test_a_slot_that_points_elsewhere_is_refused_and_the_model_before_serves_on(
    settings: Settings, client: StoreClient, keys: Keys, place: str
) -> None:
    """As whoever can write into the store could let it."""
    path = write_bundle(settings.bundles_dir, contents(), fields(), NOW_MS)
    await set_slot(client, keys, CHAMPION, path.name, str(path), "a test")
    retrieval = Retrieval(CHAMPION, settings)
    await retrieval.start()
    try:
        await set_slot(client, keys, CHAMPION, "20990101-000000-00000000", place, "elsewhere")
        await retrieval._follow_slot()
        assert await retrieval.version() == path.name
        assert "20990101-000000-00000000" in str(retrieval._refused)
    finally:
        await retrieval.stop()

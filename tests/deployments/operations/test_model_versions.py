"""Moving the slots over HTTP, on real bundles and a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
from fastapi import FastAPI

from configs.settings import Settings, Store
from deployments.http.api_keys import make_key
from deployments.http.errors import install_error_handlers
from deployments.operations.model_routes import models_routes
from deployments.operations.model_versions import ModelVersions
from features.experiments.changes import change_experiment, create_experiment
from features.experiments.experiment import Definition
from features.experiments.steps import start
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import read_state
from features.serving.slots import SLOTS
from features.serving.timeline import read_timeline
from models.bundle.writing import write_bundle
from tests.deployments.access.gates import keyed
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": f"sqlite:///{tmp_path}/none.db"}
    )
    for number in range(2):
        write_bundle(settings.bundles_dir, contents(), fields(), NOW_MS + 1000 * number)
    versions = ModelVersions(settings, client, keys)
    app = FastAPI()
    app.include_router(models_routes(lambda: versions))
    install_error_handlers(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as found:
        yield found


async def test_who_moved_a_slot_when_and_why(
    tmp_path: Path, api: httpx.AsyncClient, client: StoreClient, keys: Keys
) -> None:
    """Regression: whoever came with an API key was "a person", and the answer did not tell who at all."""
    newer, older = (model["version"] for model in (await api.get("/api/v1/models")).json()["models"])
    await api.post(f"/api/v1/models/{older}/promote", json={"reason": "the first"})
    text, key = make_key("autopilot", ["admin"], None)
    transport = api._transport
    assert isinstance(transport, httpx.ASGITransport)
    gate = keyed(transport.app, [key])
    headers = {"authorization": f"Bearer {text}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(gate), base_url="http://console", headers=headers
    ) as named:
        put = {"slot": "challenger", "reason": "to compare"}
        assert (await named.post(f"/api/v1/models/{newer}/promote", json=put)).status_code == 200
        slots = (await named.get("/api/v1/models")).json()["slots"]
    assert {name: (slot["version"], slot["who"], slot["reason"]) for name, slot in slots.items()} == {
        "champion": (older, "a person", "the first"), "challenger": (newer, "key autopilot", "to compare"),
    }  # fmt: skip
    assert all(slot["since"] for slot in slots.values())
    assert [one.who for one in await read_timeline(client, keys, 10)] == ["key autopilot", "a person"]
    # What an earlier release stored has no name.
    raw = {"version": older, "uri": "/v", "since_ms": 1, "reason": "r"}
    await client.run("HSET", keys.slots, "champion", orjson.dumps(raw))
    assert (await api.get("/api/v1/models")).json()["slots"]["champion"]["who"] is None


async def test_a_rollback_that_is_not_possible_says_what_happened_and_what_to_do(api: httpx.AsyncClient) -> None:
    """Regression: after a promotion and a rollback it said that the slot had served nothing before."""
    newer, older = (model["version"] for model in (await api.get("/api/v1/models")).json()["models"])

    async def refused() -> str:
        answer = await api.post("/api/v1/models/rollback")
        assert answer.status_code == 409
        return str(answer.json()["error"]["message"])

    assert await refused() == "the champion's slot serves nothing: promote a version"
    await api.post(f"/api/v1/models/{older}/promote")
    words = f"{older} is the first version that the champion's slot serves; to serve another one, promote it"
    assert await refused() == words
    await api.post(f"/api/v1/models/{newer}/promote")
    assert (await api.post("/api/v1/models/rollback")).json()["version"] == older
    assert await refused() == (
        f"the champion was rolled back from {newer} to {older} already, and nothing served before {older}; to serve "
        f"{newer} again, promote it"
    )


async def test_every_slot_takes_a_version_and_every_challenger_lets_go_of_it(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/api/v1/models")).json()
    assert answer["slot_names"] == list(SLOTS)
    newer, older = (model["version"] for model in answer["models"])
    for slot, version in zip(SLOTS, (newer, older, older), strict=True):
        moved = await api.post(f"/api/v1/models/{version}/promote", json={"slot": slot, "reason": "a test"})
        assert (moved.status_code, moved.json()["slot"], moved.json()["version"]) == (200, slot, version)
    after = (await api.get("/api/v1/models")).json()
    assert {name: slot["version"] for name, slot in after["slots"].items()} == {
        "champion": newer, "challenger": older, "challenger-2": older,
    }  # fmt: skip
    assert {model["version"]: model["slots"] for model in after["models"]} == {
        newer: ["champion"], older: ["challenger", "challenger-2"],
    }  # fmt: skip
    for slot in ("challenger", "challenger-2"):
        cleared = await api.post(f"/api/v1/models/{slot}/clear")
        assert (cleared.json()["slot"], cleared.json()["previous"]) == (slot, older)
        assert (await api.post(f"/api/v1/models/{slot}/clear")).status_code == 409
    assert set((await api.get("/api/v1/models")).json()["slots"]) == {"champion"}


@pytest.mark.parametrize(
    ("path", "content", "status", "field"),
    [
        ("nonsense/promote", {"slot": "challenger-3"}, 422, "slot"),
        ("nonsense/promote", {"slot": "challenger-2"}, 404, "version"),
        ("challenger-3/clear", {}, 404, "slot"),
        ("champion/clear", {}, 409, "slot"),
        ("challenger-2/clear", {"reason": ""}, 422, "reason"),
    ],
)
async def test_impossible_steps_are_refused(
    api: httpx.AsyncClient, path: str, content: dict[str, str], status: int, field: str
) -> None:
    answer = await api.post(f"/api/v1/models/{path}", json=content)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["field"] == field


async def test_a_slot_that_an_experiment_compares_is_refused_and_says_by_whom(
    api: httpx.AsyncClient, client: StoreClient, keys: Keys
) -> None:
    """Regression: a promotion took the model away from a running experiment."""
    newer, older = (model["version"] for model in (await api.get("/api/v1/models")).json()["models"])
    await api.post(f"/api/v1/models/{older}/promote")
    await api.post(f"/api/v1/models/{newer}/promote")
    variants = [{"name": name, "weight": 0.5, "slot": "champion"} for name in ("a", "b")]
    definition = Definition.model_validate({"id": "e1", "hypothesis": "h", "variants": variants})
    await create_experiment(client, keys, definition, 1)
    await change_experiment(client, keys, "e1", lambda one, state: start(one, state, 2), "started", "go", 2)
    refused = await api.post(f"/api/v1/models/{older}/promote")
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        409, "the slot champion is in use by the experiment e1: stop it first",
    )  # fmt: skip
    # Back is always possible, once.
    body = {"expected": newer, "reason": "it fails"}
    back = await api.post("/api/v1/models/rollback", json=body)
    assert (back.status_code, back.json()["version"], back.json()["previous"]) == (200, older, newer)
    again = await api.post("/api/v1/models/rollback", json=body)
    assert (again.status_code, again.json()["error"]["field"]) == (409, "expected")
    assert (await read_state(client, keys)).experiments["e1"].status == "stopped"

"""Who may call what, against a real store for the limits."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi.routing import APIRoute
from pydantic import ValidationError

from configs.settings import ApiKey, Settings, SettingsError, Store, load_settings
from deployments.access.limits import Count, counter
from deployments.access.scopes import ADMIN, WHOAMI, needed_scope
from deployments.console.console import Console
from deployments.console.page_files import page_routes
from deployments.console.routes import console_api
from deployments.http.api_keys import main, make_key
from features.redis.connection import connect
from features.redis.keys import Keys
from tests.deployments.access.gates import app, keyed, keyless, never
from tests.features.servers import Server, valkey_binary

Ask = Callable[[str, str, str | None], httpx.Response]


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Server(valkey_binary(), tmp_path_factory.mktemp("keys"))
    yield server.url
    server.stop()


def asking(keys: list[ApiKey], count: Count) -> Ask:
    guard = keyed(app, keys, count)

    def ask(method: str, path: str, key: str | None) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://here") as client:
                headers = {} if key is None else {"authorization": f"Bearer {key}"}
                return await client.request(method, path, headers=headers)

        return asyncio.run(send())

    return ask


def test_a_key_opens_what_its_scopes_name_and_nothing_else() -> None:
    (reader, reading), (writer, writing), (watcher, watching), (owner, owning) = (
        make_key("reader", ["recommend"], None),
        make_key("writer", ["events"], None),
        make_key("watcher", ["read"], None),
        make_key("owner", ["admin"], None),
    )
    ask = asking([reading, writing, watching, owning], never)
    rows = [
        ("POST", "/api/v1/recommend", {reader, owner}),
        ("POST", "/api/v1/events", {writer, owner}),
        ("POST", "/api/v1/events/batch", {writer, owner}),
        ("GET", "/api/v1/items/1/similar", {reader, watcher, owner}),
        ("PUT", "/api/v1/items/1", {owner}),
        ("DELETE", "/api/v1/users/1", {owner}),
        ("GET", "/api/v1/users/1", {owner}),
        ("POST", "/api/v1/models/rollback", {owner}),
        ("GET", "/metrics", {watcher, owner}),
        ("GET", "/api/v1/metrics/system", {watcher, owner}),
        ("GET", "/api/v1/experiments/e1/results", {watcher, owner}),
        ("GET", "/api/v1/experiments/e1/users", {owner}),
        ("GET", "/api/v1/items", {reader, watcher, owner}),
        ("GET", "/api/v1/events", {watcher, owner}),
        ("GET", "/api/v1/data", {watcher, owner}),
        ("GET", "/api/v1/data/events", {owner}),
        ("POST", "/metrics", {owner}),
        ("POST", "/health", {owner}),
        ("POST", "/api/v1/recommendations", {owner}),
        ("GET", "/new", {owner}),
    ]
    for method, path, allowed in rows:
        answers = {key: ask(method, path, key) for key in (reader, writer, watcher, owner)}
        assert {key for key, answer in answers.items() if answer.status_code == 200} == allowed, (method, path)
        refused = [answers[key] for key in answers.keys() - allowed]
        codes = {(answer.status_code, answer.json()["error"]["code"]) for answer in refused}
        assert codes == {(403, "scope_needed")}, (method, path)
        assert ask(method, path, None).status_code == 401


@pytest.mark.parametrize("path", ["/", "/health", "/health/ready", "/docs", "/openapi.json"])
def test_pages_and_health_ask_for_no_key(path: str) -> None:
    assert asking([make_key("one", ["admin"], None)[1]], never)("GET", path, None).text == "served"


def test_an_unknown_key_is_refused_everywhere_and_named_as_such() -> None:
    ask = asking([make_key("one", ["admin"], None)[1]], never)
    for path in ("/api/v1/recommend", "/health"):
        answer = ask("GET", path, "rk_guess")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "bad_key"


def test_everybody_may_ask_what_the_own_key_is_good_for() -> None:
    key, kept = make_key("reader", ["recommend"], None)
    ask = asking([kept], never)
    assert ask("GET", WHOAMI, key).json() == {"name": "reader", "scopes": ["recommend"]}
    assert ask("GET", WHOAMI, None).json() == {"name": None, "scopes": []}

    async def without_keys() -> dict[str, object]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(keyless(app)), base_url="http://localhost"
        ) as client:
            assert (await client.get("/api/v1/models")).text == "served"
            return dict((await client.get(WHOAMI)).json())

    assert asyncio.run(without_keys()) == {"name": None, "scopes": ["recommend", "events", "read", "admin"]}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "CROSS-SITE"}, 403),
        ("DELETE", {"sec-fetch-site": "same-site"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {}, 200),
        ("GET", {"sec-fetch-site": "cross-site"}, 200),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "http://127.0.0.1.evil.example:8000"}, 403),
        ("DELETE", {"origin": "https://evil.example", "sec-fetch-site": "none"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://localhost:8000"}, 200),
        ("POST", {"origin": "http://localhost:3000"}, 403),
        ("POST", {"origin": "http://127.0.0.1:8000"}, 403),
        ("POST", {"origin": "http://LOCALHOST:8000"}, 200),
        ("POST", {"origin": "https://shop.example"}, 200),
        ("OPTIONS", {"origin": "http://localhost:3000", "access-control-request-method": "PUT"}, 403),
        ("GET", {"origin": "http://evil.example"}, 200),
    ],
)
def test_without_keys_a_page_of_another_site_changes_nothing(method: str, headers: dict[str, str], status: int) -> None:
    async def send() -> int:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(keyless(app, ["shop.example"])), base_url="http://localhost:8000"
        ) as client:
            answer = await client.request(method, "/api/v1/models/rollback", headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            return answer.status_code

    assert asyncio.run(send()) == status


def test_a_limit_counts_over_replicas_and_tells_when_to_come_back(store_url: str) -> None:
    key, kept = make_key("busy", ["recommend"], 3)
    refused: list[tuple[str, int, str]] = []

    def tell(path: str, status: int, error: str) -> None:
        refused.append((path, status, error))

    async def requests() -> list[httpx.Response]:
        clients = [connect(Store(timeout_s=10), store_url) for _ in range(2)]
        guards = [keyed(app, [kept], counter(client, Keys("limit", 4), 100), tell) for client in clients]
        found = []
        for number in range(8):
            transport = httpx.ASGITransport(guards[number % 2])
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                headers = {"authorization": f"Bearer {key}"}
                found.append(await client.post("/api/v1/recommend", headers=headers))
        for client in clients:
            await client.aclose()
        return found

    answers = asyncio.run(requests())
    # A minute may begin in between, and then three more pass, but not eight.
    statuses = [answer.status_code for answer in answers]
    assert statuses[:3] == [200] * 3
    late = [answer for answer in answers if answer.status_code == 429]
    assert len(late) >= 2
    assert refused == [("/api/v1/recommend", 429, "rate_limited")] * len(late)
    assert {answer.json()["error"]["code"] for answer in late} == {"rate_limited"}
    assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in late)


def test_a_store_that_is_away_lets_requests_with_a_key_pass() -> None:
    key, kept = make_key("busy", ["recommend"], 1)
    client = connect(Store(timeout_s=0.5), "redis://127.0.0.1:9/0")
    ask = asking([kept], counter(client, Keys("limit", 4), 100))
    assert ask("POST", "/api/v1/recommend", key).status_code == 200


def test_an_open_address_needs_keys() -> None:
    with pytest.raises(ValidationError, match="configure API keys first"):
        Settings(serving={"host": "0.0.0.0"})
    _, kept = make_key("one", ["admin"], None)
    assert Settings(serving={"host": "0.0.0.0"}, security={"keys": [kept]}).serving.host == "0.0.0.0"


def test_what_the_command_prints_is_what_the_settings_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["phone", "--scopes", "recommend", "--per-minute", "600"]) == 0
    printed = capsys.readouterr().out
    key = next(line.strip() for line in printed.splitlines() if line.strip().startswith("rk_"))
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(printed[printed.index("security:") :])))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(file))
    [kept] = load_settings().security.keys
    assert (kept.name, kept.scopes, kept.per_minute) == ("phone", ("recommend",), 600)
    assert asking([kept.model_copy(update={"per_minute": None})], never)("POST", "/api/v1/recommend", key).is_success
    assert key not in file.read_text()


def test_bad_keys_are_refused_with_the_field(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["two words"]) == 2
    assert "name" in capsys.readouterr().err
    assert main(["one", "--scopes", "everything"]) == 2
    assert "scopes" in capsys.readouterr().err
    _, kept = make_key("one", ["admin"], None)
    with pytest.raises(SettingsError, match="same name"):
        load_settings(security={"keys": [kept, kept]})


def test_whatever_is_new_in_the_api_is_for_admins() -> None:
    assert needed_scope("GET", "/api/v2/anything") == ADMIN
    assert needed_scope("POST", "/api/v1/items") == ADMIN


def test_only_pages_and_health_are_open_of_all_routes_that_there_are() -> None:
    """A route that somebody adds is for admins, or for those who may read, until it is named."""
    app = console_api(_no_console, Settings().serving)
    routes = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    routes += [("GET", route.path) for route in page_routes().routes if isinstance(route, APIRoute)]
    opened = {path for method, path in routes if needed_scope(method, path) is None}
    assert opened == {
        "/", "/health", "/health/live", "/health/ready", "/console", "/console/plotly.js", "/console/{name:path}",
    }  # fmt: skip
    changing = {(method, path) for method, path in routes if method not in ("GET", "HEAD")}
    assert len(changing) > 10
    assert {needed_scope(*one) for one in changing} == {ADMIN}


def _no_console() -> Console:
    raise RuntimeError("only the routes are looked at")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8000", 200),
        ("127.0.0.2", 200),
        ("[::1]:8000", 200),
        ("shop.example", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("192.168.1.5", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_without_keys_a_request_must_name_this_machine(host: str, status: int) -> None:
    """A page whose name was made to point to this machine is of this site for the browser, and could read all."""
    refused: list[tuple[str, int, str]] = []
    gate = keyless(app, ("Shop.example",), lambda *what: refused.append(what))

    async def send(path: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as client:
            return (await client.get(path, headers={"host": host})).status_code

    assert [asyncio.run(send(path)) for path in ("/api/v1/users/1", WHOAMI)] == [status] * 2
    assert [code for _, _, code in refused] == ["unknown_host"] * (2 * (status == 403))


def test_a_silent_store_is_waited_for_once_and_by_so_many(tmp_path: Path) -> None:
    """Regression: each request of a limited key waited for the store's timeout, however many they were."""
    server = Server(valkey_binary(), tmp_path)
    key, kept = make_key("busy", ["recommend"], 99)

    async def scenario() -> None:
        client = connect(Store(timeout_s=0.5), server.url)
        gate = keyed(app, [kept], counter(client, Keys("limit", 4), 5))
        headers = {"authorization": f"Bearer {key}"}

        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://here") as http:

            async def ask() -> int:
                return (await http.post("/api/v1/recommend", headers=headers)).status_code

            assert await ask() == 200
            server.pause()
            try:
                together = await asyncio.gather(*(ask() for _ in range(20)))
                assert sorted(together) == [200] * 5 + [503] * 15
                # Now it is known that the store is silent: nobody waits.
                loop = asyncio.get_running_loop()
                started = loop.time()
                assert [await ask() for _ in range(20)] == [200] * 20
                assert loop.time() - started < 0.5
            finally:
                server.resume()
        await client.aclose()

    try:
        asyncio.run(scenario())
    finally:
        server.stop()

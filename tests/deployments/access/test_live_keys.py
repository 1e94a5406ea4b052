"""Keys that are made, rotated and revoked while replicas run: against a real store, followed by the real watch."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from configs.settings import Settings
from deployments.access.access import Access
from deployments.access.known_keys import FILE, KnownKeys
from deployments.access.routes import KeyRoom, access_api
from deployments.http import api_keys
from deployments.http.api_keys import make_key
from deployments.http.errors import install_error_handlers
from deployments.replica.control_watch import ControlWatch
from features.access.key_records import MOST_KEYS, BadKey, KeyRecord, KeyRecords, make, read_records, revoke, rotate
from features.redis.connection import connect
from features.redis.layout import keys_of
from tests.deployments.access.gates import app, never
from tests.features.servers import Server, valkey_binary

pytestmark = pytest.mark.anyio
WITHIN_S = 10.0


@pytest.fixture
async def settings(server: Server, tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, store={"url": server.url, "prefix": f"t{time.monotonic_ns()}", "timeout_s": 10})


class Replica:
    """A replica with an application that answers everybody, behind the gate."""

    def __init__(self, settings: Settings) -> None:
        self.client, self.keys = connect(settings.store, settings.store_url), keys_of(settings.store)
        self.access = Access(settings, self.client, self.keys)
        self.watch = ControlWatch(self.client, self.keys, settings.serving.watch_s, on_access=self.access.follow)
        transport = httpx.ASGITransport(self.access.guarded(app, console=True))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def status(self, key: str | None, method: str = "POST", path: str = "/api/v1/recommend") -> int:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return (await self.http.request(method, path, headers=headers)).status_code

    async def stop(self) -> None:
        await self.watch.stop()
        await self.access.aclose()
        await self.http.aclose()


@pytest.fixture
async def replicas(settings: Settings) -> AsyncIterator[list[Replica]]:
    found = [Replica(settings) for _ in range(2)]
    for replica in found:
        await replica.watch.start()
    yield found
    for replica in found:
        await replica.stop()


async def soon(asked: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so. It takes a quarter of a second where the machine has time."""
    deadline = time.monotonic() + WITHIN_S
    while not await asked():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s"
        await asyncio.sleep(0.02)


async def all_say(replicas: list[Replica], key: str | None, status: int) -> None:
    async def so() -> bool:
        return [await replica.status(key) for replica in replicas] == [status] * len(replicas)

    await soon(so)


async def test_keys_are_followed_by_every_replica_within_a_second(settings: Settings, replicas: list[Replica]) -> None:
    client, keys, security = replicas[0].client, replicas[0].keys, settings.security
    await all_say(replicas, None, 200)  # nobody is asked
    admin, _ = await make(client, keys, security, "operator", ["admin"], "a test")
    await all_say(replicas, None, 401)
    await all_say(replicas, admin, 200)
    shop, _ = await make(client, keys, security, "shop", ["recommend"], "a test")
    await all_say(replicas, shop, 200)
    assert [await one.status(shop, "DELETE", "/api/v1/keys/shop") for one in replicas] == [403, 403]
    newer, _ = await rotate(client, keys, security, "shop", "a test", old_for_s=3600)
    await all_say(replicas, newer, 200)
    await all_say(replicas, shop, 200)  # two are valid at once
    newest, _ = await rotate(client, keys, security, "shop", "a test", old_for_s=3600)
    await all_say(replicas, shop, 401)  # but not three
    assert [await one.status(key) for one in replicas for key in (newer, newest)] == [200] * 4
    await revoke(client, keys, security, "shop", "a test")
    for key in (newer, newest):
        await all_say(replicas, key, 401)
    await revoke(client, keys, security, "operator", "a test")
    # With no valid key left, everybody is still asked: revoking must not open the door.
    await all_say(replicas, admin, 401)
    assert [await one.status(None) for one in replicas] == [401, 401]


async def test_a_rotated_key_ends_at_its_time(settings: Settings, replicas: list[Replica]) -> None:
    client, keys, security = replicas[0].client, replicas[0].keys, settings.security
    old, _ = await make(client, keys, security, "shop", ["admin"], "a test")
    new, record = await rotate(client, keys, security, "shop", "somebody", old_for_s=0.5)
    assert record.changed_by == "somebody"
    await all_say(replicas, new, 200)
    await all_say(replicas, old, 401)
    assert await replicas[0].status(new) == 200
    brief, _ = await make(client, keys, security, "brief", ["recommend"], "a test", expires_in_s=3)
    await all_say(replicas, brief, 200)
    await all_say(replicas, brief, 401)


async def test_a_key_of_the_settings_file_is_rotated_and_revoked_too(settings: Settings) -> None:
    text, kept = make_key("file", ["recommend"], None)
    _, admin = make_key("operator", ["admin"], None)
    there = settings.model_copy(update={"security": settings.security.model_copy(update={"keys": (kept, admin)})})
    replica = Replica(there)
    await replica.watch.start()
    try:
        client, keys, security = replica.client, replica.keys, there.security
        assert await replica.status(text) == 200
        new, _ = await rotate(client, keys, security, "file", "a test", old_for_s=3600)
        await all_say([replica], new, 200)
        assert await replica.status(text) == 200
        await revoke(client, keys, security, "file", "a test")
        await all_say([replica], text, 401)
        assert await replica.status(new) == 401
        # A replica that starts now, or while the store is away, must not take it either.
        away = there.model_copy(update={"store": there.store.model_copy(update={"url": "redis://127.0.0.1:9/0"})})
        for later in (Replica(there), Replica(away)):
            await later.watch.start()
            assert await later.status(text) == 401
            await later.stop()
    finally:
        await replica.stop()


async def test_without_the_store_what_was_known_last_counts(tmp_path: Path) -> None:
    server = Server(valkey_binary(), tmp_path / "own")
    settings = Settings(state_dir=tmp_path, store={"url": server.url, "timeout_s": 0.5})
    replica = Replica(settings)
    try:
        await replica.watch.start()
        good, _ = await make(replica.client, replica.keys, settings.security, "good", ["admin"], "a test")
        bad, _ = await make(replica.client, replica.keys, settings.security, "bad", ["recommend"], "a test")
        await revoke(replica.client, replica.keys, settings.security, "bad", "a test")
        await all_say([replica], good, 200)
        await all_say([replica], bad, 401)
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
        assert good not in (tmp_path / FILE).read_text()
        server.stop()
        late = Replica(settings)
        await late.watch.start()
        for one in (replica, late):
            assert [await one.status(key) for key in (good, bad, None)] == [200, 401, 401]
        await late.stop()
    finally:
        server.stop()
        await replica.stop()


async def test_a_store_that_lost_its_keys_opens_nothing(settings: Settings, replicas: list[Replica]) -> None:
    client, keys = replicas[0].client, replicas[0].keys
    key, _ = await make(client, keys, settings.security, "one", ["admin"], "a test")
    await all_say(replicas, None, 401)
    await client.run("DEL", keys.access, keys.versions)
    for replica in replicas:
        await replica.access.follow()
    assert [await one.status(None) for one in replicas] == [401, 401]
    assert [await one.status(key) for one in replicas] == [200, 200]


def test_a_file_of_keys_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"keys": [')
    assert KnownKeys(Settings().security, never, tmp_path).asks
    assert not KnownKeys(Settings().security, never, tmp_path / "none").asks


async def test_two_who_change_keys_at_once_both_succeed(settings: Settings) -> None:
    clients = [connect(settings.store, settings.store_url) for _ in range(2)]
    keys, security = keys_of(settings.store), settings.security
    await make(clients[0], keys, security, "first", ["admin"], "a test")
    await asyncio.gather(*(make(clients[n % 2], keys, security, f"key-{n}", ["read"], "a test") for n in range(8)))
    records = await read_records(clients[0], keys)
    assert records is not None
    assert {key.name for key in records.keys} == {"first", *(f"key-{n}" for n in range(8))}
    for client in clients:
        await client.aclose()


async def test_what_cannot_be_made_is_refused_by_field(settings: Settings) -> None:
    client, keys, security = connect(settings.store, settings.store_url), keys_of(settings.store), settings.security
    for field, arguments in {
        "name": ("two words", ["admin"]),
        "scopes": ("one", ["everything"]),
    }.items():
        with pytest.raises(BadKey) as refused:
            await make(client, keys, security, *arguments, "a test")
        assert refused.value.field == field
    with pytest.raises(BadKey, match="first key"):
        await make(client, keys, security, "one", ["recommend"], "a test")
    assert await read_records(client, keys) is None
    await make(client, keys, security, "one", ["admin"], "a test")
    with pytest.raises(BadKey, match="already"):
        await make(client, keys, security, "one", ["admin"], "a test")
    await client.aclose()


def test_the_number_of_keys_is_bounded_and_the_longest_revoked_goes_first() -> None:
    security = Settings(security={"keys": [make_key("key-0", ["read"], None)[1]]}).security
    full = KeyRecords(
        keys=tuple(
            KeyRecord(name=f"key-{n}", scopes=("read",), revoked_ms=n + 1 if n < 3 else None) for n in range(MOST_KEYS)
        )
    )
    more = full.with_key(KeyRecord(name="new", scopes=("read",)), security)
    # key-0 is in the settings file, where it would be valid again without its record
    assert {key.name for key in full.keys} - {key.name for key in more.keys} == {"key-1"}
    none_revoked = KeyRecords(keys=tuple(key.model_copy(update={"revoked_ms": None}) for key in full.keys))
    with pytest.raises(BadKey, match="revoke some first"):
        none_revoked.with_key(KeyRecord(name="new", scopes=("read",)), security)


def test_the_command_lists_makes_rotates_and_revokes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"state_dir: {tmp_path}\nstore: {{url: '{server.url}', prefix: 'command'}}\n")
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(file))

    def run(*words: str) -> str:
        code = api_keys.main(words)
        printed = capsys.readouterr()
        return f"{code} {printed.out}{printed.err}"

    assert "first key" in run("make", "shop", "--scopes", "recommend")
    made = run("make", "operator", "--scopes", "admin", "--per-minute", "600")
    assert made.startswith("0 ")
    assert "rk_" in made
    listed = run("list")
    assert "operator:  admin  600 a minute" in listed
    assert "rk_" not in listed
    assert "rk_" in run("rotate", "operator", "--old-for", "2")
    assert "the one before until" in run("list")
    assert run("revoke", "operator").startswith("0 revoked: operator")
    assert "revoked" in run("list")
    assert run("rotate", "operator").startswith("2 api_keys: there is no key 'operator' any more")
    assert run("forget").startswith("0 ")
    assert run("list") == "0 "


async def test_the_routes_make_rotate_and_revoke(settings: Settings, replicas: list[Replica]) -> None:
    api = FastAPI()
    install_error_handlers(api)
    room = KeyRoom(settings.security, replicas[0].client, replicas[0].keys)
    api.include_router(access_api(lambda: room, settings.serving))
    gate = replicas[0].access.guarded(api, console=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as http:
        made = await http.post("/api/v1/keys", json={"name": "operator", "scopes": ["admin"]})
        assert made.status_code == 201
        key = made.json()["key"]
        await all_say(replicas, None, 401)
        http.headers["authorization"] = f"Bearer {key}"
        shop = (await http.post("/api/v1/keys", json={"name": "shop", "per_minute": 5})).json()
        assert shop["kept"]["scopes"] == ["recommend", "events"]
        assert (shop["kept"]["changed_by"], shop["kept"]["state"]) == ("key operator", "valid")
        rotated = await http.post("/api/v1/keys/shop/rotate", json={"old_for_s": 60})
        assert rotated.json()["kept"]["old_until"] is not None
        assert rotated.json()["key"] != shop["key"]
        assert (await http.delete("/api/v1/keys/shop")).json()["state"] == "revoked"
        missing = await http.delete("/api/v1/keys/shop")
        assert (missing.status_code, missing.json()["error"]["field"]) == (404, "name")
        listed = await http.get("/api/v1/keys")
        assert [(one["name"], one["state"]) for one in listed.json()["keys"]] == [
            ("operator", "valid"),
            ("shop", "revoked"),
        ]
        assert "rk_" not in listed.text
        assert "sha256" not in listed.text
        bad = await http.post("/api/v1/keys", json={"name": "two words"})
        assert (bad.status_code, bad.json()["error"]["field"]) == (422, "name")
        trail = (await http.get("/api/v1/audit")).json()["entries"]
    assert [(one["who"], one["what"], one["status"]) for one in trail] == [
        ("key operator", "POST /api/v1/keys", 422),
        ("key operator", "DELETE /api/v1/keys/shop", 404),
        ("key operator", "DELETE /api/v1/keys/shop", 200),
        ("key operator", "POST /api/v1/keys/shop/rotate", 200),
        ("key operator", "POST /api/v1/keys", 201),
        ("a person", "POST /api/v1/keys", 201),
    ]
    assert all("rk_" not in str(one) for one in trail)

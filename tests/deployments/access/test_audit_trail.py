"""What the audit log says, and that a flood of refused tries cannot fill it."""

from pathlib import Path

import httpx
import pytest

from configs.settings import Settings, Store
from deployments.access.access import Access
from deployments.access.audit_trail import REFUSED_A_MINUTE, origin
from deployments.http.api_keys import make_key
from features.access.audit_log import AuditEntry, read_actions
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.redis.layout import keys_of
from tests.deployments.access.gates import app

pytestmark = pytest.mark.anyio


async def test_actions_and_refused_tries_are_written_with_who_what_and_from_where(
    store_settings: Store, tmp_path: Path, client: StoreClient, keys: Keys
) -> None:
    (owner, owning), (shop, shopping) = make_key("owner", ["admin"], None), make_key("shop", ["recommend"], None)
    settings = Settings(store=store_settings, state_dir=tmp_path, security={"keys": [owning, shopping]})
    access = Access(settings, client, keys)
    transport = httpx.ASGITransport(access.guarded(app, console=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:

        async def ask(method: str, path: str, key: str | None, **headers: str) -> int:
            bearer = {} if key is None else {"authorization": f"Bearer {key}"}
            return (await http.request(method, path, headers={**bearer, **headers})).status_code

        assert await ask("POST", "/api/v1/models/rollback", owner, **{"x-forwarded-for": "9.9.9.9, 10.0.0.7"}) == 200
        assert await ask("GET", "/api/v1/users/1", owner) == 200  # nothing changes
        assert await ask("GET", "/api/v1/items", None) == 401  # a page without a key yet
        assert await ask("GET", "/api/v1/users/1", shop) == 403
        assert await ask("DELETE", "/api/v1/items/1", None) == 401
        assert await ask("GET", "/api/v1/items", "rk_guess") == 401
        written = await read_actions(client, keys, 100)
        assert [(one.who, one.what, one.status, one.result) for one in reversed(written)] == [
            ("key owner", "POST /api/v1/models/rollback", 200, "done"),
            ("key shop", "GET /api/v1/users/1", 403, "scope_needed"),
            ("unknown", "DELETE /api/v1/items/1", 401, "key_needed"),
            ("unknown", "GET /api/v1/items", 401, "bad_key"),
        ]
        assert [one.origin for one in written] == ["127.0.0.1"] * 3 + ["10.0.0.7"]
        for _ in range(3 * REFUSED_A_MINUTE):
            await ask("DELETE", "/api/v1/users/1", "rk_guess")
        assert len(await read_actions(client, keys, 1000)) == 1 + REFUSED_A_MINUTE
        # What an admin does is written all the same.
        await ask("POST", "/api/v1/models/rollback", owner)
        assert (await read_actions(client, keys, 1))[0].who == "key owner"
        assert "rk_" not in str(written)
    await access.aclose()


async def test_a_store_that_is_away_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, kept = make_key("owner", ["admin"], None)
    settings = Settings(
        store={"url": "redis://127.0.0.1:9/0", "timeout_s": 0.2}, state_dir=tmp_path, security={"keys": [kept]}
    )
    client = connect(settings.store, settings.store_url)
    access = Access(settings, client, keys_of(settings.store))
    transport = httpx.ASGITransport(access.guarded(app, console=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/api/v1/models/rollback", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert "POST /api/v1/models/rollback" in caplog.text  # the log has what the store did not take
    await access.aclose()
    await client.aclose()


@pytest.mark.parametrize(
    ("peer", "headers", "told"),
    [
        ("10.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")], "10.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"10.0.0.9")], "10.0.0.9"),
        (None, [], "unknown"),
    ],
)
def test_the_origin_is_the_one_that_our_proxy_saw(
    peer: str | None, headers: list[tuple[bytes, bytes]], told: str
) -> None:
    assert origin({"client": None if peer is None else (peer, 1), "headers": headers}) == told


async def test_an_entry_of_another_version_is_read(client: StoreClient, keys: Keys) -> None:
    raw = '{"time_ms": 1, "who": "w", "what": "x", "origin": "o", "status": 200, "result": "done", "later": 1}'
    await client.run("XADD", keys.audit, "*", "e", raw)
    assert await read_actions(client, keys, 1) == [
        AuditEntry(time_ms=1, who="w", what="x", origin="o", status=200, result="done")
    ]

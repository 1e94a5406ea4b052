"""Tokens (JWT): who is taken for whom, and what is refused, with keys in a file and at an address."""

import asyncio
import hmac
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey
from pydantic import ValidationError

from configs.groups.access import Jwt, Security
from deployments.access.access_gate import AccessGate
from deployments.access.keyless import Keyless
from deployments.access.known_keys import KnownKeys
from deployments.access.tokens import Tokens
from deployments.http.errors import ApiError
from tests.deployments.access.gates import app, never

pytestmark = pytest.mark.anyio
ISSUER, AUDIENCE = "https://login.example", "raycommend"
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig"})


def jwks(*keys: RSAKey | ECKey) -> bytes:
    return orjson.dumps({"keys": [key.as_dict(private=False) for key in keys]})


@pytest.fixture
def settings(tmp_path: Path) -> Jwt:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(RSA, EC))
    return Jwt(keys=str(file), issuer=ISSUER, audience=AUDIENCE, user_claim="user_id", leeway_s=5)


def token(key: RSAKey | ECKey = RSA, algorithm: str | None = None, kid: str | None = "own", **claims: Any) -> str:
    head = {"alg": algorithm or ("RS256" if isinstance(key, RSAKey) else "ES256")}
    if kid is not None:
        head["kid"] = key.kid or "" if kid == "own" else kid
    now = int(time.time())
    full = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": now + 600, "scope": "recommend events", **claims}
    return jwt.encode(head, {name: value for name, value in full.items() if value is not None}, key)


async def verified(tokens: Tokens, text: str) -> Any:
    return tokens.seen(text.encode()) or await tokens.verify(text.encode())


async def status(tokens: Tokens, text: str) -> tuple[int, str]:
    """What the gate answers to a token."""
    known = KnownKeys(Security(jwt=tokens._settings), never)
    transport = httpx.ASGITransport(AccessGate(app, known, Keyless(), tokens))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.post("/api/v1/recommend", headers={"authorization": f"Bearer {text}"})
    return answer.status_code, answer.text


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
async def test_a_token_of_the_provider_opens_what_its_scopes_name(settings: Jwt, key: RSAKey | ECKey) -> None:
    tokens = Tokens(settings, never)
    caller = await verified(tokens, token(key, scope="recommend read unheard-of"))
    assert (str(caller), caller.scopes, caller.user_id) == ("token shop", {"recommend", "read"}, None)
    assert (await status(tokens, token(key)))[0] == 200
    code, text = await status(tokens, token(key, scope="read"))
    assert (code, "scope_needed" in text) == (403, True)
    listed = await verified(tokens, token(key, scope=["admin"]))
    assert "events" in listed.scopes


async def test_a_token_of_a_user_is_for_that_user_and_never_an_admin(settings: Jwt) -> None:
    caller = await verified(Tokens(settings, never), token(user_id=196, scope="recommend admin read"))
    assert (caller.user_id, caller.scopes) == ("196", {"recommend", "events"})


def unsigned(**head: Any) -> str:
    parts = ({"typ": "JWT", **head}, {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": time.time() + 600})
    return ".".join(urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=") for part in parts) + "."


def swapped(text: str, **claims: Any) -> str:
    """A token with other claims under the same signature."""
    head, _, signature = text.split(".")
    body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": int(time.time()) + 600, **claims}
    return f"{head}.{urlsafe_b64encode(orjson.dumps(body)).decode().rstrip('=')}.{signature}"


def signed_with_the_public_key() -> str:
    text = unsigned(alg="HS256", kid="rsa-1").rstrip(".")
    signature = hmac.digest(RSA.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


BAD = {
    "none": lambda: unsigned(alg="none"),
    "none, in capitals": lambda: unsigned(alg="NONE"),
    "none, as a known key": lambda: unsigned(alg="none", kid="rsa-1"),
    "RS256 without a signature": lambda: unsigned(alg="RS256", kid="rsa-1"),
    "HS256 with the public key": signed_with_the_public_key,
    "expired": lambda: token(exp=int(time.time()) - 60),
    "without an end": lambda: token(exp=None),
    "not valid yet": lambda: token(nbf=int(time.time()) + 600),
    "another audience": lambda: token(aud="somebody-else"),
    "other audiences": lambda: token(aud=["one", "two"]),
    "no audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://evil.example"),
    "no subject": lambda: token(sub=None),
    "changed claims": lambda: swapped(token(), scope="admin"),
    "another key under a known id": lambda: token(RSAKey.generate_key(2048), kid="rsa-1"),
    "a key nobody knows": lambda: token(RSAKey.generate_key(2048), kid="other"),
    "a key of the other kind": lambda: token(EC, kid="rsa-1"),
    "huge": lambda: token(padding="x" * 20_000),
    "a head of garbage": lambda: "a.b.c",
    "an empty head": lambda: "..",
    "a head that is a list": lambda: "W10.e30.x",
    "deep claims": lambda: swapped(token(), deep=[[[[]]]]),
    "a user that is none": lambda: token(user_id={"id": 1}),
    "a critical extension": lambda: unsigned(alg="RS256", kid="rsa-1", crit=["exp2"]),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
async def test_what_the_provider_did_not_sign_for_here_and_now_is_refused(settings: Jwt, make: Any) -> None:
    tokens = Tokens(settings, never)
    assert (await status(tokens, token()))[0] == 200
    code, text = await status(tokens, make())
    assert (code, orjson.loads(text)["error"]["code"]) == (401, "bad_token")


async def test_an_end_beyond_all_numbers_is_no_failure(settings: Jwt) -> None:
    assert (await status(Tokens(settings, never), token(exp=10**400)))[0] in (200, 401)


async def test_tokens_are_verified_once_and_forgotten_when_they_end(
    settings: Jwt, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(settings.model_copy(update={"remembered": 2}), never)
    found = [token(sub=f"s{number}") for number in range(3)]
    for text in found:
        await verified(tokens, text)
    assert [tokens.seen(text.encode()) is not None for text in found] == [False, True, True]
    later = time.time() + 3000
    monkeypatch.setattr(time, "time", lambda: later)
    assert tokens.seen(found[2].encode()) is None
    with pytest.raises(ApiError, match="expired"):
        await verified(tokens, found[2])


class Provider:
    """Hands out a JWKS over HTTP, and counts how often."""

    def __init__(self) -> None:
        self.body, self.asked, self.status = jwks(RSA), 0, 200


@contextmanager
def serving(provider: Provider) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked += 1
            self.send_response(provider.status)
            self.end_headers()
            self.wfile.write(provider.body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_keys_are_rotated_and_an_unknown_one_is_looked_for_only_now_and_then(settings: Jwt) -> None:
    provider, newer = Provider(), RSAKey.generate_key(2048, {"kid": "rsa-2"})
    with serving(provider) as address:
        tokens = Tokens(settings.model_copy(update={"keys": address, "refetch_s": 60.0}), never)
        assert [code for code, _ in await asyncio.gather(*(status(tokens, token(sub=f"{n}")) for n in range(5)))] == [
            200
        ] * 5
        assert provider.asked == 1
        provider.body = jwks(RSA, newer)
        flood = await asyncio.gather(*(status(tokens, token(newer, sub=f"{n}")) for n in range(20)))
        assert {code for code, _ in flood} == {401}  # it was looked for a moment ago
        assert provider.asked == 1
        tokens._jwks._tried_s -= 61  # as if that time had passed
        assert (await status(tokens, token(newer)))[0] == 200
        assert provider.asked == 2
        # A provider that is away takes nothing from what is known.
        provider.status = 500
        assert (await status(tokens, token(sub="later")))[0] == 200


async def test_a_withdrawn_key_ends_with_what_it_signed(settings: Jwt) -> None:
    provider = Provider()
    with serving(provider) as address:
        tokens = Tokens(settings.model_copy(update={"keys": address, "keys_age_s": 0.05, "refetch_s": 0.05}), never)
        old = token()
        assert (await status(tokens, old))[0] == 200
        provider.body = jwks(EC)
        deadline = time.monotonic() + 5
        while (await status(tokens, old))[0] != 401:
            assert time.monotonic() < deadline
            await status(tokens, token(EC, sub=str(time.monotonic())))  # any verification looks at the age
            await asyncio.sleep(0.02)


async def test_a_provider_that_was_never_reached_is_a_503(settings: Jwt) -> None:
    tokens = Tokens(settings.model_copy(update={"keys": "http://127.0.0.1:9/jwks"}), never)
    code, text = await status(tokens, token())
    assert (code, "token_keys_away" in text) == (503, True)


async def test_short_and_secret_keys_are_no_keys(settings: Jwt, tmp_path: Path) -> None:
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024, {"kid": "rsa-1"})
    file = tmp_path / "weak.json"
    keys = [short.as_dict(private=False), OctKey.generate_key(256).as_dict(private=True), EC.as_dict(private=False)]
    file.write_bytes(orjson.dumps({"keys": keys}))
    tokens = Tokens(settings.model_copy(update={"keys": str(file)}), never)
    assert (await status(tokens, token(EC)))[0] == 200
    assert (await status(tokens, token(short)))[0] == 401


@pytest.mark.parametrize("address", ["http://login.example/jwks", "ftp://login.example/jwks"])
def test_keys_come_over_https_or_from_a_file(address: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        Jwt(keys=address, issuer=ISSUER, audience=AUDIENCE)

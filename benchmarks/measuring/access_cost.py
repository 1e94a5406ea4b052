"""`python -m benchmarks.measuring.access_cost`: what keys, tokens, limits and the deadline add to a request.

Both functions run in this process behind uvicorn's own handling of a connection, as in a replica, on the store and the
model of the running stack (`make up` first). There is no socket and no proxy between, whose time would only make the
shares smaller. A list and an event are asked once in each way, one after another and in another order each time: the
same users, the same seconds, the same machine. Counted is the processor time of this process; the INCRBY of a limit
costs the store a little too, which is not in it.
"""

import argparse
import asyncio
import random
import re
import statistics
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.serving import USERS, expect_running, machine
from configs.groups.access import Jwt, Security
from configs.settings import Settings, load_settings
from deployments.access.access import Access
from deployments.events.endpoints import events_endpoints
from deployments.events.ingestion import Ingestion
from deployments.http.api_keys import make_key
from deployments.http.asgi_app import EndpointApp
from deployments.recommend.endpoints import recommend_endpoints
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.redis.connection import StoreClient
from features.redis.layout import keys_of

WARM = 50
PLENTY = 1_000_000_000
ISSUER, AUDIENCE = "https://login.example", "raycommend"
Way = tuple[ASGIApp, str | None, bool]
"""The application, what the authorization header says, and whether the deadline holds."""


class _NoDeadline:
    """Takes the place of `Deadlines`, and lets everything run as long as it likes."""

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await work


def ways(app: ASGIApp, settings: Settings, client: StoreClient, folder: Path) -> tuple[dict[str, Way], list[Access]]:
    """Each way in which a request is asked, and what is to be closed at the end."""
    plain, limited = make_key("plain", ["recommend", "events"], None), make_key("all", ["recommend", "events"], PLENTY)
    signer = RSAKey.generate_key(2048, {"kid": "one"})
    file = folder / "jwks.json"
    file.write_bytes(orjson.dumps({"keys": [signer.as_dict(private=False)]}))
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "scope": "recommend events"}
    token = jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, "exp": int(time.time()) + 86_400}, signer)
    security = Security(keys=(plain[1], limited[1]), jwt=Jwt(keys=str(file), issuer=ISSUER, audience=AUDIENCE))
    built = {}
    for name, own in (("keyless", Security()), ("keyed", security)):
        # With an address of the store instead of a state folder, whose keys are those of the running stack.
        store = settings.store.model_copy(update={"url": settings.store_url.replace("127.0.0.1", "localhost")})
        here = settings.model_copy(update={"security": own, "state_dir": folder, "store": store})
        built[name] = Access(here, client, keys_of(settings.store))
    keyless, keyed = built["keyless"].guarded(app), built["keyed"].guarded(app)
    return {
        "nothing": (app, None, False),
        "the deadline": (app, None, True),
        "the deadline, no keys": (keyless, None, True),
        "the deadline, a key": (keyed, plain[0], True),
        "the deadline, a key, its limit": (keyed, limited[0], True),
        "the deadline, a token": (keyed, token, True),
    }, list(built.values())


async def measure(settings: Settings, rounds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """CPU milliseconds of this process, by function and by way, one for each round."""
    retrieval = Retrieval("champion", settings)
    await retrieval.start()
    ranking = Ranking(settings, {"champion": retrieval.retrieve})
    await ranking.start()
    ingestion = Ingestion(settings)
    await ingestion.start()
    endpoints = [
        *recommend_endpoints(lambda: ranking, settings.serving),
        *events_endpoints(lambda: ingestion, settings.serving),
    ]
    found, opened = ways(EndpointApp(endpoints, 10), settings, ranking._client, folder)
    taken: dict[str, dict[str, list[float]]] = {path: {way: [] for way in found} for path in ("recommend", "events")}
    kept = ranking._deadlines, ingestion._deadlines
    order = list(found)
    connections = {way: _Connection(app) for way, (app, _, _) in found.items()}
    try:
        for number in range(WARM + rounds):
            random.shuffle(order)
            for path, body_of in (("recommend", _list), ("events", _event)):
                for way in order:
                    _, key, deadline = found[way]
                    ranking._deadlines, ingestion._deadlines = kept if deadline else (_NoDeadline(), _NoDeadline())  # type: ignore[assignment]
                    took = await _ask(connections[way], path, key, body_of(number, way))
                    if number >= WARM:
                        taken[path][way].append(took)
    finally:
        for access in opened:
            await access.aclose()
        for part in (ranking, ingestion, retrieval):
            await part.stop()
    return taken


def _list(number: int, way: str) -> bytes:
    # No two are the same, so none comes out of the cache.
    context = {"simulated": True, "try": f"{number} {way}"}
    return orjson.dumps({"user_id": number % USERS + 1, "context": context})


def _event(number: int, way: str) -> bytes:
    context = {"simulated": True}
    event = {"user_id": number % USERS + 1, "item_id": number % 100 + 1, "event_type": "view", "context": context}
    return orjson.dumps({**event, "event_id": f"access-cost-{time.time_ns()}"})


class _Connection(asyncio.Transport):
    """uvicorn's end of a connection with `app`, and what comes out of it."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 8000)})
        # uvicorn takes the gate, which is a class with a plain `__call__`, for an application of an older kind.
        config = uvicorn.Config(app, interface="asgi3", lifespan="off", access_log=False, log_config=None)
        self._protocol = HttpToolsProtocol(config, ServerState(), {})
        self._answered = asyncio.Event()
        self._out = b""
        self._protocol.connection_made(self)

    async def ask(self, request: bytes) -> bytes:
        """The answer to a request."""
        self._out = b""
        self._answered.clear()
        self._protocol.data_received(request)
        await self._answered.wait()
        return self._out

    def write(self, data: Any) -> None:
        self._out += data
        head, end, body = self._out.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if end and length and len(body) >= int(length[1]):
            self._answered.set()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self._answered.set()


async def _ask(connection: _Connection, path: str, key: str | None, body: bytes) -> float:
    lines = [
        f"POST /api/v1/{path} HTTP/1.1",
        *("host: localhost:8000", "accept: */*", "content-type: application/json", f"content-length: {len(body)}"),
        *([] if key is None else [f"authorization: Bearer {key}"]),
    ]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    begun = time.process_time()
    answer = await connection.ask(request)
    took = (time.process_time() - begun) * 1000
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a request was answered: {answer!r}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="requests of each kind and way")
    given = parser.parse_args()
    settings = load_settings()
    expect_running(f"http://127.0.0.1:{settings.ports.http}")
    with tempfile.TemporaryDirectory() as folder:
        taken = asyncio.run(measure(settings, given.rounds, Path(folder)))
    print(machine())
    for path, by_way in taken.items():
        plain = statistics.median(by_way["nothing"])
        print(f"{path}: {plain:.3f} ms of processor time with nothing, median of {given.rounds:,}; and with")
        for way, times in by_way.items():
            if way != "nothing":
                added = statistics.median(a - b for a, b in zip(times, by_way["nothing"], strict=True))
                print(f"  {way:<32}{added * 1000:+7.1f} us  {added / plain:+6.1%}")


if __name__ == "__main__":
    main()

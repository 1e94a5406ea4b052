"""The plain ASGI front of the busy applications, driven as a server drives it."""

import asyncio
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from deployments.http import asgi_app
from deployments.http.asgi_app import Endpoint, EndpointApp
from deployments.http.errors import ApiError
from features.redis.errors import StoreFull, StoreUnavailable

JSON = (b"content-type", b"application/json")


class Nothing(BaseModel):
    pass


def app(answer: Any, limit: int = 100) -> EndpointApp:
    return EndpointApp([Endpoint("/a", "a", "t", "s", Nothing, Nothing, limit, answer)], max_in_flight=10)


def ask(
    hot: EndpointApp,
    chunks: list[bytes],
    path: str = "/a",
    method: str = "POST",
    headers: list[Any] | None = None,
    query: bytes = b"",
) -> tuple[int, dict[str, str], Any]:
    messages = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1}
        for number, chunk in enumerate(chunks)
    ] or [{"type": "http.disconnect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    found = [JSON] if headers is None else headers
    scope = {"type": "http", "method": method, "path": path, "headers": found, "query_string": query}
    asyncio.run(hot(scope, receive, send))
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(found["content-length"]) == len(body["body"])
    return start["status"], found, orjson.loads(body["body"])


async def echo(body: bytes, request_id: str) -> bytes:
    return orjson.dumps({"body": body.decode(), "id": request_id})


def test_the_body_arrives_whole_with_the_first_request_id() -> None:
    ids = [JSON, (b"x-request-id", b"mine"), (b"x-request-id", b"the proxy's")]
    status, headers, content = ask(app(echo), [b"ab", b"cd", b""], headers=ids)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert content == {"body": "abcd", "id": "mine"}


def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    first, second = (ask(app(echo), [b""])[2]["id"] for _ in range(2))
    assert first
    assert first != second


@pytest.mark.parametrize("headers", [[JSON], [JSON, (b"content-length", b"101")]])
def test_too_long_a_body_is_refused(headers: list[Any]) -> None:
    status, _, content = ask(app(echo), [b"x" * 60, b"x" * 41], headers=headers)
    assert (status, content["error"]["code"]) == (413, "body_too_large")
    assert ask(app(echo), [b"x" * 60, b"x" * 40])[0] == 200
    assert ask(app(echo), [b"x" * 101])[0] == 413


@pytest.mark.parametrize(("query", "field"), [(b"top_k=5", "top_k"), (b"user+id=", "user id"), (b"=", "")])
def test_what_is_asked_in_the_query_is_refused_and_not_ignored(query: bytes, field: str) -> None:
    status, _, content = ask(app(echo), [b"{}"], query=query)
    assert (status, content["error"]["field"]) == (422, field)
    assert "stands in the body" in content["error"]["message"]


def test_other_paths_and_methods() -> None:
    assert ask(app(echo), [b""], path="/b")[0] == 404
    for method in ("GET", "HEAD", "OPTIONS", "PROPFIND"):
        status, headers, content = ask(app(echo), [b""], method=method)
        assert (status, headers["allow"]) == (405, "POST")
        assert content["error"]["message"] == f"{method} is not allowed here; use POST"


def test_an_address_with_a_slash_at_its_end_is_none_and_the_answer_names_the_one_without() -> None:
    status, _, content = ask(app(echo), [b"{}"], path="/a/")
    assert (status, content["error"]["code"]) == (404, "not_found")
    assert content["error"]["message"].endswith("without a slash: /a")


@pytest.mark.parametrize(
    "given",
    [None, b"text/plain", b"text/plain;charset=UTF-8", b"application/x-www-form-urlencoded", b"multipart/form-data",
     b"application/jsonp", b"", b"application/json\xff"],
)  # fmt: skip
def test_a_body_that_is_not_called_json_is_refused_before_it_is_read(given: bytes | None) -> None:
    read: list[bytes] = []

    async def note(body: bytes, request_id: str) -> bytes:
        read.append(body)
        return b"{}"

    headers = [] if given is None else [(b"content-type", given)]
    status, _, content = ask(app(note), [b'{"a": 1}'], headers=headers)
    assert (status, content["error"]["code"]) == (415, "json_needed")
    assert "Content-Type: application/json" in content["error"]["message"]
    assert read == []


@pytest.mark.parametrize("given", [b"application/json; charset=utf-8", b"Application/JSON", b"application/json ;a=b"])
def test_json_may_be_named_with_parameters(given: bytes) -> None:
    assert ask(app(echo), [b"{}"], headers=[(b"content-type", given)])[0] == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ApiError(409, "taken", "no"), 409, "taken"),
        (StoreUnavailable("away"), 503, "store_unavailable"),
        (StoreFull("full"), 503, "store_full"),
        (ZeroDivisionError(), 500, "internal_error"),
    ],
)
def test_errors_take_the_common_form(error: Exception, status: int, code: str) -> None:
    async def fail(body: bytes, request_id: str) -> bytes:
        raise error

    got, headers, content = ask(app(fail), [b""])
    assert (got, content["error"]["code"]) == (status, code)
    assert ("retry-after" in headers) == (status == 503)


def test_a_body_whose_rest_drips_gives_up_its_place_and_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_app, "BODY_S", 0.1)

    async def scenario() -> None:
        hot = app(echo, limit=10_000)
        started: list[dict[str, Any]] = []

        async def drip() -> dict[str, Any]:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Any) -> None:
            if "status" in message:
                started.append(message)

        scope = {"type": "http", "method": "POST", "path": "/a", "headers": []}
        await asyncio.wait_for(hot(scope, drip, send), 5)
        assert started[0]["status"] == 408
        assert (b"connection", b"close") in started[0]["headers"]
        assert hot.in_flight == 0

    asyncio.run(scenario())


def test_a_client_that_hangs_up_before_its_body_is_no_request() -> None:
    assert ask(app(echo), [])[0] == 400


def test_one_request_too_many_is_turned_away_and_the_next_is_served() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def wait(body: bytes, request_id: str) -> bytes:
            await gate.wait()
            return b"{}"

        hot = app(wait)
        statuses: list[int] = []

        async def one() -> None:
            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None:
                if "status" in message:
                    statuses.append(message["status"])

            await hot({"type": "http", "method": "POST", "path": "/a", "headers": []}, receive, send)

        tasks = [asyncio.create_task(one()) for _ in range(11)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert statuses == [503]
        gate.set()
        await asyncio.gather(*tasks)
        await one()
        assert sorted(statuses) == [200] * 11 + [503]

    asyncio.run(scenario())


def test_the_server_ends_when_the_last_request_has_its_answer() -> None:
    order: list[str] = []

    async def run() -> None:
        begun, asked_to_end, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(body: bytes, request_id: str) -> bytes:
            begun.set()
            await release.wait()
            order.append("answered")
            return b"{}"

        hot = app(slow)
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> dict[str, Any]:
            message = messages.pop(0)
            if not messages:
                await begun.wait()
                asked_to_end.set()
            return message

        async def told(message: Any) -> None:
            order.append(message["type"])

        async def body() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def nothing(_: Any) -> None:
            pass

        life = asyncio.create_task(hot({"type": "lifespan"}, receive, told))
        request = asyncio.create_task(
            hot({"type": "http", "method": "POST", "path": "/a", "headers": []}, body, nothing)
        )
        await asked_to_end.wait()
        await asyncio.sleep(0)
        assert not life.done()
        release.set()
        await asyncio.wait_for(asyncio.gather(life, request), 5)
        assert hot.in_flight == 0

    asyncio.run(run())
    assert order == ["lifespan.startup.complete", "answered", "lifespan.shutdown.complete"]

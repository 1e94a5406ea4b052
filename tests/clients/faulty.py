"""The real applications over real HTTP, with a place in front of them where answers are lost, late or errors."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.groups.access import Security
from configs.settings import Store
from tests.deployments.fuzz.applications import applications
from tests.deployments.jobs_api import JobsApi

START_S = 120  # kernels are compiled on first use
CONTROL = "/-/faults"
ANYWHERE = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"retry-after")]


@dataclass
class Request:
    """One that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at_s: float
    port: int
    """Of the connection, on the client's side."""


@dataclass
class Faults:
    """What happens to the next requests, one after another. Node and the browser set it over HTTP, at `CONTROL`.

    A fault is `{}` for none, `{"status": 503, "retry_after": "1", "code": "overloaded"}` for an error in place of the
    answer, `{"answer": ...}` for another content, `{"lose": true}` for a request that is done and whose answer is lost,
    `{"wait_s": 1}` for a late answer.
    """

    coming: deque[dict[str, Any]] = field(default_factory=deque)
    seen: list[Request] = field(default_factory=list)

    def reset(self, *coming: dict[str, Any]) -> None:
        self.coming.clear()
        self.seen.clear()
        self.coming.extend(coming)


@dataclass(frozen=True)
class Api:
    url: str
    faults: Faults


def faulty(app: ASGIApp, faults: Faults) -> ASGIApp:
    """`app` behind the faults."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        if scope["path"] == CONTROL:
            await answer(send, 200, control(faults, scope["method"], body))
            return
        if scope["method"] == "OPTIONS":
            await app(scope, once(body), send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        content = json.loads(body) if body else None
        faults.seen.append(
            Request(scope["method"], scope["path"], headers, content, time.monotonic(), scope["client"][1])
        )
        fault = faults.coming.popleft() if faults.coming else {}
        await asyncio.sleep(fault.get("wait_s", 0))
        if "status" in fault:
            error = {"code": fault.get("code", "overloaded"), "message": "a fault of the test"}
            more = [(b"retry-after", fault["retry_after"].encode())] if "retry_after" in fault else []
            await answer(send, fault["status"], {"error": error}, [*more, *ANYWHERE])
        elif "answer" in fault:
            await answer(send, 200, fault["answer"], ANYWHERE)
        elif fault.get("lose"):
            await app(scope, once(body), swallow)
            # A body that is shorter than it was said to be: the server hangs up on it.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await app(scope, once(body), send)

    return called


def control(faults: Faults, method: str, body: bytes) -> Any:
    if method == "POST":
        faults.reset(*json.loads(body))
        return {}
    return [vars(request) for request in faults.seen]


def once(body: bytes) -> Receive:
    messages = deque([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return messages.popleft() if messages else await asyncio.Future()

    return receive


async def swallow(message: Message) -> None:
    return None


async def answer(send: Send, status: int, content: Any, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"application/json"), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def batch_answer(*codes: str | None) -> dict[str, Any]:
    """A fault: the answer to a batch whose events were refused with these codes; None for one that was accepted."""
    accepted = {"status": "accepted", "event_id": "e", "processed_at": "", "actions_taken": [], "duplicate": False}
    results = [
        {**accepted, "next_recommendations_ready": True}
        if code is None
        else {"status": "refused", "error": {"code": code, "message": "a fault of the test"}}
        for code in codes
    ]
    counts = {"accepted": codes.count(None), "refused": len(codes) - codes.count(None)}
    return {"answer": {**counts, "results": results}}


@contextlib.contextmanager
def served(folder: Path, store: Store, security: Security | None = None) -> Iterator[Api]:
    """The applications on a port of their own, in a thread of their own, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers: list[uvicorn.Server] = []
    faults = Faults()
    jobs = JobsApi()

    async def serve() -> None:
        async with applications(folder, store, jobs, security) as running:
            # A fault that hangs up is an error to uvicorn, which would log it.
            config = uvicorn.Config(faulty(running.app, faults), port=port, log_level="critical", access_log=False)
            servers.append(uvicorn.Server(config))
            await servers[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ends_s = time.monotonic() + START_S
    while not (servers and servers[0].started):
        assert thread.is_alive()
        assert time.monotonic() < ends_s
        time.sleep(0.02)
    yield Api(f"http://127.0.0.1:{port}", faults)
    servers[0].should_exit = True
    thread.join(30)
    jobs.close()

"""The floor: a bare uvicorn endpoint that scores items with numpy and answers in the shape of `recommend`.

It reads no features, logs nothing, forgets every event and runs in one process: what a Python web server costs at
the least. Run by `benchmarks.serving`.
"""

import argparse
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import orjson
import uvicorn
from starlette.types import Receive, Scope, Send

N_ITEMS, N_FACTORS, TOP_K = 1682, 64, 10


class Model:
    """Random factors; what both floors compute and answer."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._factors = generator.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
        self._users = generator.normal(size=(943, N_FACTORS)).astype(np.float32)

    def answer(self, user_id: int) -> dict[str, Any]:
        scores = self._factors @ self._users[user_id % len(self._users)]
        top = np.argpartition(-scores, TOP_K)[:TOP_K]
        top = top[np.argsort(-scores[top])]
        return {
            "user_id": user_id,
            "recommendations": [
                {
                    "item_id": item,
                    "score": score,
                    "rank": rank,
                    "title": "A title of usual length",
                    "genres": ["Drama", "Comedy"],
                    "source": "fold_in",
                }
                for rank, (item, score) in enumerate(zip(top.tolist(), scores[top].tolist(), strict=True), 1)
            ],
            "recommendation_id": "0" * 24,
            "model_version": "20260101-000000-00000000",
            "experiment": None,
            "variant": "champion",
            "cache_hit": False,
            "cold_start": False,
            "degraded": False,
            "latency_ms": 0.1,
        }


def make_app() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    model = Model()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = orjson.dumps(model.answer(int(orjson.loads(body)["user_id"])))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def serve(app: Callable[..., Any], description: str | None) -> None:
    """Serve with one uvicorn process until the input closes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False))

    def end_with_input() -> None:
        # A signal would end the process too, but before what runs around the server can clear up.
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    server.run()


if __name__ == "__main__":
    serve(make_app(), __doc__)

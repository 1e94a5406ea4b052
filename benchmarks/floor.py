"""The floor: a bare uvicorn endpoint that scores items with numpy and answers in the shape of `recommend`.

It reads no features, logs nothing, forgets every event and runs in one process: what a Python web server costs at
the least. Run by `benchmarks.serving`.
"""

import argparse
import os
import signal
import sys
import threading

import numpy as np
import orjson
import uvicorn
from starlette.types import Receive, Scope, Send

N_ITEMS, N_FACTORS, TOP_K = 1682, 64, 10


def make_app() -> object:
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    users = generator.normal(size=(943, N_FACTORS)).astype(np.float32)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = orjson.loads(body)
        scores = factors @ users[int(request["user_id"]) % len(users)]
        top = np.argpartition(-scores, TOP_K)[:TOP_K]
        top = top[np.argsort(-scores[top])]
        answer = orjson.dumps(
            {
                "user_id": request["user_id"],
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
        )
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    threading.Thread(target=_end_with_input, daemon=True).start()
    uvicorn.run(make_app(), host="127.0.0.1", port=port, log_level="error", access_log=False)  # type: ignore[arg-type]


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

"""Ray Serve the ordinary way: three deployments, one call each, Ray's own proxy, default flags, nothing batched.

It does what the floor does (score, sort, dress) without features, durability or exposures: what a first draft on Ray
costs. Started by `benchmarks.serving` in a Ray of its own, without this project's flags; ends when its input closes.
"""

import argparse
import logging
import sys

import numpy as np
import ray
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

from benchmarks.peers.floor import N_FACTORS, N_ITEMS, TOP_K


@serve.deployment
class Retrieval:
    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.factors = generator.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
        self.users = generator.normal(size=(943, N_FACTORS)).astype(np.float32)

    async def __call__(self, user_id: int) -> tuple[list[int], list[float]]:
        scores = self.factors @ self.users[user_id % len(self.users)]
        top = np.argpartition(-scores, 100)[:100]
        return top.tolist(), scores[top].tolist()


@serve.deployment
class Ranking:
    async def __call__(self, items: list[int], scores: list[float]) -> list[dict[str, object]]:
        best = sorted(zip(items, scores, strict=True), key=lambda pair: -pair[1])[:TOP_K]
        return [
            {"item_id": item, "score": score, "rank": rank, "title": "A title of usual length", "genres": ["Drama"]}
            for rank, (item, score) in enumerate(best, 1)
        ]


@serve.deployment
class Recommend:
    def __init__(self, retrieval: DeploymentHandle, ranking: DeploymentHandle) -> None:
        self.retrieval = retrieval
        self.ranking = ranking

    async def __call__(self, request: Request) -> dict[str, object]:
        body = await request.json()
        items, scores = await self.retrieval.remote(int(body["user_id"]))
        ranked = await self.ranking.remote(items, scores)
        return {"user_id": body["user_id"], "recommendations": ranked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level=logging.ERROR)
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
    serve.run(Recommend.bind(Retrieval.bind(), Ranking.bind()), route_prefix="/")  # type: ignore[attr-defined]
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()

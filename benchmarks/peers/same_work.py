"""What a good engineer would write instead: one FastAPI process that does the work of a list and of an event.

A list takes the user's latest items and profile from the store in one pipeline, folds them into the factors of an ALS,
searches 100 candidates by FAISS, adds 50 that trend, computes 25 features of each by NumPy, scores them by LightGBM
(150 trees of 7 leaves, as the served ranker has) and logs the exposure to a stream. A list is kept in memory as long as
the user's version in the store is the same. An event is checked, told from a repeated one, and counted and logged in
one transaction. The store is a Valkey of its own with the settings of the stack's: each write is fsynced before its
answer. Data has the shape of MovieLens 100K and is drawn at random, since how long it takes does not depend on what the
items are.

It has no experiments, no deadlines, no shedding, no metrics, no swap of models. Run by `benchmarks.serving`.
"""

import contextlib
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import faiss
import lightgbm
import numpy as np
import orjson
import redis
import redis.asyncio
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from benchmarks.peers.floor import serve
from deployments.local.stack_parts import store_binary
from models.one_blas_thread import one_blas_thread

USERS, ITEMS, GENRES, FACTORS = 943, 1682, 19, 64
EVENTS_A_USER, HISTORY = 106, 1000
SEARCHED, TRENDING, TOP_K = 100, 50, 10
LATEST, FOLLOWED = 10, 5
TREES, LEAVES, FEATURES = 150, 7, 25
REGULARIZATION, ALPHA = 30.0, 4.0
TRENDING_S = 1.0
"""How long what trends is kept in memory."""
DAY_S = 86_400
MOST_EXPOSURES = 100_000


class Filters(BaseModel):
    exclude_items: list[int] = []


class RecommendBody(BaseModel):
    user_id: int
    top_k: int = Field(TOP_K, ge=1, le=100)
    filters: Filters = Filters()


class EventBody(BaseModel):
    user_id: int
    item_id: int = Field(ge=1, le=ITEMS)
    event_type: str
    event_id: str | None = None
    timestamp: float | None = None


class Recommender:
    """The arrays and the trees: history and profile of a user in, ordered items out."""

    def __init__(self) -> None:
        faiss.omp_set_num_threads(1)
        draw = np.random.default_rng(0)
        self._factors = draw.normal(size=(ITEMS, FACTORS)).astype(np.float32)
        self._unit = self._factors / np.linalg.norm(self._factors, axis=1, keepdims=True)
        self._gram = self._factors.T @ self._factors + REGULARIZATION * np.eye(FACTORS, dtype=np.float32)
        self._index = faiss.IndexFlatIP(FACTORS)
        self._index.add(self._factors)
        self._genres = (draw.random((ITEMS, GENRES)) < 0.1).astype(np.float32)
        self._follows = draw.random((ITEMS, ITEMS)).astype(np.float32)
        self._known = draw.random((ITEMS, 8)).astype(np.float32)  # counts, ages and means of items
        self._titles = [f"A title of usual length {item}" for item in range(ITEMS)]
        rows = draw.random((4000, FEATURES))
        parameters = {"objective": "lambdarank", "num_leaves": LEAVES, "verbose": -1, "num_threads": 1}
        relevant = (rows[:, 0] + rows[:, 1] * rows[:, 2] + 0.3 * draw.random(4000) > 1.2).astype(int)
        data = lightgbm.Dataset(rows, relevant, group=[40] * 100)
        self._trees = lightgbm.train(parameters, data, num_boost_round=TREES)

    def rank(self, history: np.ndarray, profile: np.ndarray, trending: np.ndarray, excluded: list[int], k: int) -> Any:
        """The best `k` items and their scores.

        Args:
            history: (h,) int, the user's items, the latest first. profile: (19,) float32, counts by genre.
            trending: (50,) int. excluded: items that may not come, beside those of the history.
        """
        taken = self._factors[history]
        matrix = self._gram + ALPHA * (taken.T @ taken)
        vector = np.linalg.solve(matrix, (1 + ALPHA) * taken.sum(axis=0)).astype(np.float32)
        out = np.zeros(ITEMS, bool)
        out[history] = True
        out[[item for item in excluded if 0 <= item < ITEMS]] = True
        _, found = self._index.search(vector[None], min(SEARCHED + int(out.sum()), ITEMS))
        best = found[0][~out[found[0]]][:SEARCHED]
        new = trending[~out[trending]]
        items = np.concatenate([best, new[~np.isin(new, best)]])
        rows = self._features(items, vector, history, profile)
        scores = np.asarray(self._trees.predict(rows, num_threads=1))
        order = np.argsort(-scores)[:k]
        return items[order], scores[order], order < len(best)

    def _features(self, items: np.ndarray, vector: np.ndarray, history: np.ndarray, profile: np.ndarray) -> np.ndarray:
        rows = np.empty((len(items), FEATURES), np.float32)
        rows[:, 0] = self._factors[items] @ vector
        rows[:, 1] = np.arange(len(items))
        near = self._unit[items] @ self._unit[history[:LATEST]].T if len(history) else np.zeros((len(items), 1))
        rows[:, 2], rows[:, 3], rows[:, 4] = near.max(axis=1), near.mean(axis=1), near[:, 0]
        followed = self._follows[history[:FOLLOWED]][:, items] if len(history) else np.zeros((1, len(items)))
        rows[:, 5], rows[:, 6], rows[:, 7] = followed.max(axis=0), followed.sum(axis=0), followed[0]
        share = profile / max(profile.sum(), 1.0)
        genres = self._genres[items]
        rows[:, 8], rows[:, 9] = genres @ share, (genres * share).max(axis=1)
        rows[:, 10:18] = self._known[items]
        rows[:, 18:] = (len(history), profile.sum(), profile.max(), (profile > 0).sum(), share.max(), share.std(), 1.0)
        return rows

    def dress(self, items: np.ndarray, scores: np.ndarray, folded: np.ndarray) -> list[dict[str, Any]]:
        """The items of an answer."""
        return [
            {
                "item_id": item + 1,
                "score": score,
                "rank": rank,
                "title": self._titles[item],
                "genres": ["Drama", "Comedy"],
                "source": "fold_in" if by_factors else "trending",
            }
            for rank, (item, score, by_factors) in enumerate(
                zip(items.tolist(), scores.tolist(), folded.tolist(), strict=True), 1
            )
        ]

    def genres_of(self, item: int) -> list[int]:
        return list(np.flatnonzero(self._genres[item]).tolist())


class Service:
    """Lists and events over the store."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._store = store
        self._recommender = Recommender()
        self._lists: dict[str, tuple[bytes | None, bytes]] = {}
        self._trending, self._trending_until = np.arange(TRENDING), 0.0

    async def recommend(self, body: RecommendBody) -> bytes:
        started = time.perf_counter()
        user = f"user:{body.user_id}"
        pipeline = self._store.pipeline(transaction=False)
        pipeline.hgetall(user)
        pipeline.lrange(f"{user}:items", 0, HISTORY - 1)
        if time.monotonic() > self._trending_until:
            pipeline.zrevrange("trending", 0, TRENDING - 1)
        stored, taken, *trending = await pipeline.execute()
        if trending:
            self._trending = np.array([int(item) for item in trending[0]], int)
            self._trending_until = time.monotonic() + TRENDING_S
        asked = body.model_dump_json()
        version, listed = self._lists.get(asked, (None, b""))
        hit = bool(listed) and version == stored.get(b"version")
        if not hit:
            profile = np.zeros(GENRES, np.float32)
            for name, count in stored.items():
                if name.startswith(b"g"):
                    profile[int(name[1:])] = float(count)
            history = np.array([int(item) for item in taken], int)
            best = self._recommender.rank(
                history, profile, self._trending, [item - 1 for item in body.filters.exclude_items], body.top_k
            )
            listed = orjson.dumps(self._recommender.dress(*best))
            if len(self._lists) > 100_000:
                self._lists.clear()
            self._lists[asked] = (stored.get(b"version"), listed)
        exposure = uuid.uuid4().hex[:24]
        await self._store.xadd(
            "exposures",
            {"id": exposure, "user": body.user_id, "items": listed},
            maxlen=MOST_EXPOSURES,
            approximate=True,
        )
        answer = {
            "user_id": body.user_id,
            "recommendations": orjson.Fragment(listed),
            "recommendation_id": exposure,
            "model_version": "20260101-000000-00000000",
            "experiment": None,
            "variant": "champion",
            "cache_hit": hit,
            "cold_start": not taken,
            "degraded": False,
            "latency_ms": (time.perf_counter() - started) * 1000,
        }
        return orjson.dumps(answer)

    async def record(self, body: EventBody) -> bytes:
        event_id = body.event_id or uuid.uuid4().hex
        if not await self._store.set(f"event:{event_id}", 1, nx=True, ex=DAY_S):
            return orjson.dumps({"status": "accepted", "event_id": event_id, "duplicate": True})
        user, item = f"user:{body.user_id}", body.item_id - 1
        pipeline = self._store.pipeline(transaction=True)
        pipeline.lpush(f"{user}:items", item)
        pipeline.ltrim(f"{user}:items", 0, HISTORY - 1)
        pipeline.hincrby(user, "version", 1)
        for genre in self._recommender.genres_of(item):
            pipeline.hincrby(user, f"g{genre}", 1)
        pipeline.zincrby("trending", 1, item)
        pipeline.xadd("events", {"event": body.model_dump_json(), "id": event_id})
        await pipeline.execute()
        return orjson.dumps({"status": "accepted", "event_id": event_id, "duplicate": False})


@contextlib.contextmanager
def own_store() -> Iterator[int]:
    """The port of a Valkey that lives as long as the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(store_binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", folder),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _fill(port)
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _fill(port: int) -> None:
    """Write histories and profiles of all users, as events would have."""
    draw = np.random.default_rng(1)
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 20
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    pipeline = client.pipeline(transaction=False)
    for user in range(1, USERS + 1):
        taken = (draw.beta(0.7, 3.0, EVENTS_A_USER) * ITEMS).astype(int)  # few items have most of the events
        pipeline.rpush(f"user:{user}:items", *np.unique(taken).tolist())
        counts = draw.integers(0, 30, GENRES).tolist()
        profile = [part for genre, count in enumerate(counts) for part in (f"g{genre}", count)]
        pipeline.hset(f"user:{user}", items=["version", 1, *profile])
    pipeline.zadd("trending", {str(item): ITEMS - item for item in range(ITEMS)})
    pipeline.execute()
    client.close()


def make_app(port: int) -> FastAPI:
    service: list[Service] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool = redis.asyncio.BlockingConnectionPool(port=port, max_connections=64)
        async with redis.asyncio.Redis.from_pool(pool) as client:
            service.append(Service(client))
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/")
    @app.post("/api/v1/recommend")
    async def recommend(body: RecommendBody) -> Response:
        return Response(await service[0].recommend(body), media_type="application/json")

    @app.post("/api/v1/events")
    async def record(body: EventBody) -> Response:
        return Response(await service[0].record(body), media_type="application/json")

    return app


if __name__ == "__main__":
    with own_store() as at, one_blas_thread():  # threads would only wait for one another on what is so small
        serve(make_app(at), __doc__)

"""The endpoint of `benchmarks.peers.floor` as most services are written: FastAPI, with models of body and answer.

Run by `benchmarks.serving`.
"""

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.floor import Model, serve


class RecommendBody(BaseModel):
    user_id: int
    top_k: int = 10


class Item(BaseModel):
    item_id: int
    score: float
    rank: int
    title: str
    genres: list[str]
    source: str


class RecommendAnswer(BaseModel):
    user_id: int
    recommendations: list[Item]
    recommendation_id: str
    model_version: str
    experiment: str | None
    variant: str
    cache_hit: bool
    cold_start: bool
    degraded: bool
    latency_ms: float


def make_app() -> FastAPI:
    model, app = Model(), FastAPI()

    @app.post("/")
    @app.post("/api/v1/recommend")
    async def recommend(body: RecommendBody) -> RecommendAnswer:
        return RecommendAnswer(**model.answer(body.user_id))

    return app


if __name__ == "__main__":
    serve(make_app(), __doc__)

"""The two functions that answer a recommendation, in this process: on a real store and two small bundles."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from configs.settings import Settings, Store
from deployments.http.schemas import RecommendRequest
from deployments.recommend.ranking import Ranking
from deployments.recommend.retrieval import Retrieval
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHALLENGER, CHAMPION
from models.bundle.writing import write_bundle
from tests.models.bundle.test_bundle import NOW_MS, contents, fields


@dataclass
class Functions:
    """`Ranking` with a `Retrieval` for champion and challenger; `versions` are those of their bundles."""

    settings: Settings
    ranking: Ranking
    retrievals: dict[str, Retrieval]
    versions: dict[str, str]
    bundles: dict[str, Path]

    async def recommend(self, **request: Any) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(await self.ranking.recommend(RecommendRequest(**request)))
        return found


@pytest.fixture
async def functions(tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys) -> AsyncIterator[Functions]:
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), serving={"deadline_s": 20})
    bundles = {
        slot: write_bundle(settings.bundles_dir, contents(seed), fields(seed=seed), NOW_MS + 1000 * seed)
        for seed, slot in enumerate((CHAMPION, CHALLENGER))
    }
    for slot, path in bundles.items():
        await set_slot(client, keys, slot, path.name, str(path), "a test")
    retrievals = {slot: Retrieval(slot, settings) for slot in bundles}
    ranking = Ranking(settings, {slot: retrieval.retrieve for slot, retrieval in retrievals.items()})
    started = [*retrievals.values(), ranking]
    try:
        for one in started:
            await one.start()
        yield Functions(settings, ranking, retrievals, {slot: path.name for slot, path in bundles.items()}, bundles)
    finally:
        for one in started:
            await one.stop()


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Waits until a condition holds."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + 20
        while not await condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.02)

    return wait

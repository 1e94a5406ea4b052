"""A sequence model that serves from its slot: the next list follows each event, in its order."""

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import orjson
import pytest

from deployments.events.ingestion import Ingestion
from deployments.http.schemas import EventRequest
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from models.bundle.arrays import BundleContents
from models.bundle.writing import write_bundle
from models.sequence.encoder import SequenceEncoder
from tests.deployments.recommend.conftest import Functions
from tests.models.bundle.small_bundle import NOW_MS
from tests.models.sequence.chains import SMALL, sequence_contents, sequence_fields

pytestmark = pytest.mark.anyio


def best(contents: BundleContents, history: list[int], n: int) -> list[str]:
    assert contents.sequence is not None
    vectors, _ = SequenceEncoder(contents.item_factors, contents.sequence.weights, SMALL.heads).encode(
        [np.array(history)]
    )
    scores = contents.item_factors @ vectors[0]
    scores[history] = -np.inf
    return [f"item {item}" for item in np.argsort(-scores)[:n].tolist()]


async def test_each_event_changes_the_next_list(
    functions: Functions,
    client: StoreClient,
    keys: Keys,
    until: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    contents = sequence_contents()
    path = write_bundle(functions.settings.bundles_dir, contents, sequence_fields(), NOW_MS + 9000)
    await set_slot(client, keys, CHAMPION, path.name, str(path), "a test")

    async def loaded() -> bool:
        listed = await functions.recommend(user_id="nobody", top_k=3)
        return await functions.retrievals[CHAMPION].version() == path.name and listed["model_version"] == path.name

    await until(loaded)
    ingestion = Ingestion(functions.settings)
    await ingestion.start()
    try:
        taken: list[int] = []
        for item in (3, 11, 5):
            event = EventRequest(user_id="somebody", item_id=f"item {item}", event_type="like")
            await ingestion.record(event, f"event {item}")
            taken.append(item)
            listed: dict[str, Any] = await functions.recommend(user_id="somebody", top_k=5, explain=True)
            assert [one["item_id"] for one in listed["recommendations"]] == best(contents, taken, 5)
            assert {one["source"] for one in listed["recommendations"]} == {"sequence"}
            assert all(not one["reason"] for one in listed["recommendations"])
        assert best(contents, [3, 11, 5], 5) != best(contents, [11, 3, 5], 5)
        refused = EventRequest(user_id="somebody", item_id="item 11", event_type="dislike")
        await ingestion.record(refused, "a refusal")
        listed = await functions.recommend(user_id="somebody", top_k=5)
        without = [item for item in best(contents, [3, 5], 20) if item != "item 11"][:5]
        assert [one["item_id"] for one in listed["recommendations"]] == without
        shut = await functions.recommend(user_id="somebody", top_k=5, filters={"exclude_items": without[:2]})
        assert [one["item_id"] for one in shut["recommendations"]][:3] == without[2:]
        nobody = await functions.recommend(user_id="nobody", top_k=5)
        assert nobody["cold_start"]
        assert len(nobody["recommendations"]) == 5
    finally:
        await ingestion.stop()
    assert orjson.loads((path / "manifest.json").read_bytes())["sequence"]["rounds"] == 2

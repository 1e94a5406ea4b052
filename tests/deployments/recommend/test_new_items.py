"""Items that no model has learned: what they say of a user, how they are shown, and what is claimed of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from configs import clock
from deployments.console.console import Console
from deployments.events.ingestion import Ingestion
from deployments.http.schemas import EventRequest
from features.items.catalogue import Item, put_items
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from models.bundle.manifest import ContentFacts
from models.bundle.writing import write_bundle
from models.content.content_map import ContentMap
from models.content.description import Description, content_fields
from models.content.fitting import fit_inputs
from tests.deployments.recommend.conftest import Functions
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio
Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
async def ingestion(functions: Functions) -> AsyncIterator[Ingestion]:
    found = Ingestion(functions.settings)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def shelf(functions: Functions, ingestion: Ingestion, client: StoreClient, keys: Keys, until: Until) -> None:
    """Even items of the model are of category A, odd ones of B; two items are new, one of them without a category."""
    now_ms = clock.now_ms()
    items = [Item(f"item {n}", f"Item {n}", categories=("Comedy",) if n % 2 == 0 else ("War",)) for n in range(20)]
    items += [Item("new", "New", categories=("War",), created_ms=now_ms), Item("bare", "Bare", created_ms=now_ms)]
    version = await put_items(client, keys, items)

    async def followed() -> bool:
        catalogues = [one._catalogue.version for one in (*functions.retrievals.values(), functions.ranking, ingestion)]
        return min(catalogues) >= version

    await until(followed)


async def send(ingestion: Ingestion, user_id: str, item_id: str, event_type: str = "like") -> dict[str, Any]:
    event = EventRequest(user_id=user_id, item_id=item_id, event_type=event_type)
    answer: dict[str, Any] = orjson.loads(await ingestion.record(event, f"{user_id}-{item_id}-{event_type}"))
    return answer


@pytest.mark.usefixtures("shelf")
async def test_the_categories_of_a_new_item_speak_at_once(functions: Functions, ingestion: Ingestion) -> None:
    before = await functions.recommend(user_id="ada", top_k=8)
    assert before["cold_start"]
    assert (await send(ingestion, "ada", "new"))["next_recommendations_ready"]
    after = await functions.recommend(user_id="ada", top_k=8)
    assert not after["cold_start"]
    first = [one for one in after["recommendations"] if one["source"] == "category"]
    assert after["recommendations"][: len(first)] == first
    assert first
    assert [one["item_id"] for one in after["recommendations"]] != [one["item_id"] for one in before["recommendations"]]
    # It was seen and stays away; what was refused says nothing of taste, and stays away too.
    assert "new" not in {one["item_id"] for one in after["recommendations"]}
    await send(ingestion, "bob", "new", "dislike")
    refused = await functions.recommend(user_id="bob", top_k=20, exclude_seen=False)
    assert refused["cold_start"]
    assert "new" not in {one["item_id"] for one in refused["recommendations"]}


@pytest.mark.usefixtures("shelf")
async def test_nothing_is_claimed_where_nothing_follows(functions: Functions, ingestion: Ingestion) -> None:
    for item_id, ready in (("item 3", True), ("new", True), ("bare", False), ("nobody described it", False)):
        assert (await send(ingestion, "eve", item_id))["next_recommendations_ready"] is ready, item_id
    body = orjson.dumps({"events": [{"user_id": "eve", "item_id": "bare", "event_type": "view"}]})
    [result] = orjson.loads(await ingestion.record_batch(body, "r"))["results"]
    assert result["next_recommendations_ready"] is False


@pytest.mark.usefixtures("shelf")
async def test_an_event_that_a_rebuild_defers_is_not_in_the_next_list(
    ingestion: Ingestion, client: StoreClient, keys: Keys
) -> None:
    await client.run("SET", keys.rebuilding(keys.partition_of("eve")), "1")
    answer = await send(ingestion, "eve", "item 3")
    assert answer["actions_taken"] == ["logged", "deferred"]
    assert answer["next_recommendations_ready"] is False


@pytest.mark.usefixtures("shelf")
async def test_an_item_that_nobody_has_described_is_shown_by_its_id(
    functions: Functions, ingestion: Ingestion, until: Until
) -> None:
    await send(ingestion, "eve", "tt0111161")
    console = Console(functions.settings, *[_none] * 3)  # type: ignore[arg-type]
    await console.start()
    try:
        trending = (await console.items.trending("1d", None, 5)).items
        assert [(one.item_id, one.title) for one in trending] == [("tt0111161", "tt0111161")]
        assert [entry.title for entry in (await console.users.user("eve")).history] == ["tt0111161"]
    finally:
        await console._watch.stop()


@pytest.mark.usefixtures("shelf")
async def test_an_unknown_category_is_answered_with_those_that_are_close(
    functions: Functions, client: StoreClient, keys: Keys, until: Until
) -> None:
    known = await functions.recommend(user_id="ada", filters={"include_categories": ["War"]})
    assert "warnings" not in known
    filters = {"include_categories": ["comedy", "War"], "exclude_categories": ["Opera"]}
    answer = await functions.recommend(user_id="ada", filters=filters)
    assert answer["warnings"] == [
        "filters.include_categories: no item has the category 'comedy'; close to it: Comedy",
        "filters.exclude_categories: no item has the category 'Opera'",
    ]
    # A category goes with its last item, and comes with its first.
    await put_items(client, keys, [Item(f"item {n}", "t", categories=("Opera",)) for n in range(0, 20, 2)])

    async def changed() -> bool:
        found = await functions.recommend(user_id="ada", filters={"include_categories": ["Comedy", "Opera"]})
        return found.get("warnings") == ["filters.include_categories: no item has the category 'Comedy'"]

    await until(changed)


async def test_what_is_written_of_a_new_item_counts_from_its_put_on(
    functions: Functions, ingestion: Ingestion, client: StoreClient, keys: Keys, until: Until
) -> None:
    """Makers stand for factors: of `m0` to `m3` each for one, so that neighbours and lists follow the maker."""
    factors = contents().item_factors
    makers = [Description("", attributes={"maker": f"m{number % 4}"}) for number in range(8)]
    inputs = fit_inputs(makers, content_fields({"maker": "keyword"}), 0.0)
    weights = np.zeros((inputs.width, 4), np.float32)
    weights[1:5] = 5 * np.eye(4)
    path = write_bundle(
        functions.settings.bundles_dir,
        replace(contents(), content=ContentMap(inputs, weights)),
        fields(content=ContentFacts(fields=inputs.fields)),
        NOW_MS + 5000,
    )
    await set_slot(client, keys, CHAMPION, path.name, str(path), "a test")
    retrieval = functions.retrievals[CHAMPION]

    async def put(maker: str) -> None:
        version = await put_items(client, keys, [Item("new", "New", attributes={"maker": maker})])

        async def followed() -> bool:
            return retrieval._catalogue.version >= version and await retrieval.version() == path.name

        await until(followed)

    for liked in ("item 3", "item 4"):
        await send(ingestion, "ada", liked)
    for number in range(4):
        await put(f"m{number}")
        cosines = factors[:, number] / np.linalg.norm(factors, axis=1)
        neighbours = await retrieval.similar(b"new", 3)
        assert [item_id for item_id, _ in neighbours.items] == [
            f"item {place}".encode() for place in np.argsort(-cosines)[:3].tolist()
        ]
        nearest = f"item {int(np.argmax(cosines))}".encode()
        assert b"new" in [item_id for item_id, _ in (await retrieval.similar(nearest, 20)).items]
        listed = (await functions.recommend(user_id="ada", top_k=20))["recommendations"]
        assert [one["source"] for one in listed if one["item_id"] == "new"] == ["content"]
        filters = {"exclude_items": ["new"]}
        listed = (await functions.recommend(user_id="ada", top_k=20, filters=filters))["recommendations"]
        assert "new" not in [one["item_id"] for one in listed]


async def _none(*given: object) -> None:
    return None

"""What one replica of retrieval holds, and follows; on a real store."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from deployments.recommend import retrieval as retrieval_module
from deployments.recommend.loaded_model import LoadedModel
from features.items.catalogue import Item, put_items
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHALLENGER, CHAMPION
from tests.deployments.recommend.conftest import Functions

pytestmark = pytest.mark.anyio
Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_catalogue_changes_are_kept_only_while_a_model_loads(
    functions: Functions, client: StoreClient, keys: Keys, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = functions.retrievals[CHAMPION]
    for number in range(50):
        await put_items(client, keys, [Item(f"new {number}", "title")])

    async def followed() -> bool:
        return champion._catalogue.version == 50

    await until(followed)
    assert not champion._missed
    # While a model loads, what changes is kept for it, each item once.
    load, may_end, begun = retrieval_module.load_model, threading.Event(), threading.Event()

    def slow(*given: object) -> LoadedModel:
        begun.set()
        assert may_end.wait(20)
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(retrieval_module, "load_model", slow)
    other = functions.bundles[CHALLENGER]
    await set_slot(client, keys, CHAMPION, other.name, str(other), "a test")
    assert await asyncio.to_thread(begun.wait, 20)
    for _ in range(20):
        await put_items(client, keys, [Item("late", "title", hidden=True)])

    async def caught_up() -> bool:
        return champion._catalogue.version == 70

    await until(caught_up)
    assert champion._missed is not None
    assert list(champion._missed) == ["late"]
    may_end.set()

    async def swapped() -> bool:
        return await champion.version() == other.name

    await until(swapped)
    assert not champion._missed
    assert champion._loaded is not None
    assert champion._loaded.builder.table.find_one(b"late") >= 0

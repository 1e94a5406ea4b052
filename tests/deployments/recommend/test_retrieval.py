"""What one replica of retrieval holds, and follows; on a real store."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from configs import clock
from deployments.recommend import loaded_model
from deployments.recommend import retrieval as retrieval_module
from deployments.recommend.loaded_model import LoadedModel
from deployments.recommend.messages import Question
from features.items.catalogue import Item, put_items
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHALLENGER, CHAMPION
from features.users.history import encode_history
from models.bundle.writing import write_bundle
from tests.deployments.recommend.conftest import Functions
from tests.models.bundle.small_bundle import NOW_MS, with_ranker

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


async def test_a_version_of_the_catalogue_is_told_when_all_of_it_is_served_and_not_before(
    functions: Functions, client: StoreClient, keys: Keys, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many changes are taken over part by part, so that requests need not wait; a list of a half-made catalogue must
    not be kept as one of the whole."""
    monkeypatch.setattr(loaded_model, "TAKEN", 3)
    champion = functions.retrievals[CHAMPION]
    assert champion._loaded is not None
    loaded, before = champion._loaded, len(champion._loaded.builder.ids)
    question = Question(b"nobody", None, None, 5, True, (), None, ())
    seen: list[tuple[int, int]] = []

    async def ask_on() -> None:
        while True:
            reply = await champion.retrieve([question])
            seen.append((reply.catalogue_version, len(loaded.builder.ids) - before))
            await asyncio.sleep(0)

    asking = asyncio.create_task(ask_on())
    version = await put_items(client, keys, [Item(f"many {n}", "title") for n in range(60)])

    async def told() -> bool:
        return bool(seen) and seen[-1][0] == version

    await until(told)
    asking.cancel()
    assert {n for told, n in seen if told == version} == {60}
    assert len({n for told, n in seen if told < version}) > 10


async def test_an_old_event_is_the_newest_at_once(
    functions: Functions, client: StoreClient, keys: Keys, until: Until
) -> None:
    """While no event is of today, a request counts as of the newest one, in training as here. The user's own must not
    wait until the replica next looks at what is new of everybody: it would seem to lie ahead of the request."""
    champion = functions.retrievals[CHAMPION]
    path = write_bundle(functions.settings.bundles_dir, *with_ranker(), NOW_MS + 5000)
    await set_slot(client, keys, CHAMPION, path.name, str(path), "a test")

    async def serves() -> bool:
        return await champion.version() == path.name

    await until(serves)

    async def asked_as_of(event_ms: float) -> float:
        history = encode_history([b"item 1", b"item 2"], [event_ms, event_ms - 1000], [None, None], [0, 0])
        return (await champion.retrieve([Question(b"ada", history, None, 5, True, (), None, ())])).at_ms

    begun_ms = clock.now_ms()
    month_ago, hour_ago = (float(begun_ms - hours * 3_600_000) for hours in (720, 1))
    assert await asked_as_of(month_ago) == month_ago
    assert await asked_as_of(hour_ago) >= begun_ms

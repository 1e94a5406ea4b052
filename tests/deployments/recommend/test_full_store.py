"""A store that refuses writes costs what is written, and nothing that is read."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator

import pytest
import redis

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings
from deployments.autopilot.alert_rules import due_alerts
from deployments.operations.health import HealthProbe
from deployments.operations.monitor import Monitor
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient, durability
from features.redis.errors import StoreFull
from features.redis.keys import Keys
from features.redis.memory import read_memory
from tests.deployments.recommend.conftest import Functions
from tests.features.servers import Server

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def full(server: Server) -> Iterator[None]:
    with redis.Redis(port=server.port) as admin:
        admin.config_set("maxmemory", 1_000_000)  # less than an empty server uses
        try:
            yield
        finally:
            admin.config_set("maxmemory", 0)


def view(number: int) -> Event:
    now_ms = clock.now_ms()
    return Event(f"e{number}", "ada", f"item {number}", "view", now_ms, None, now_ms, None, None, ())


def store_of(settings: Settings, client: StoreClient, keys: Keys) -> OnlineStore:
    return OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))


async def test_lists_keep_their_person_while_the_store_is_full(
    functions: Functions, client: StoreClient, keys: Keys, server: Server
) -> None:
    store = store_of(functions.settings, client, keys)
    await store.record_events([view(number) for number in range(3)])
    assert not (await functions.recommend(user_id="ada"))["cold_start"]
    with full(server):
        with pytest.raises(StoreFull):
            await store.record_events([view(9)])
        for top_k in range(1, 8):  # another question each time, so that no list comes from the cache
            answer = await functions.recommend(user_id="ada", top_k=top_k)
            assert (answer["cold_start"], answer["degraded"]) == (False, True), top_k
    assert functions.ranking.metrics.counts["exposures_lost"] == 7
    assert not (await functions.recommend(user_id="ada", top_k=9))["degraded"]


async def test_a_full_store_is_said_in_health_and_alerts(
    functions: Functions, client: StoreClient, keys: Keys, server: Server
) -> None:
    settings = functions.settings
    probe, monitor = HealthProbe(settings, client, keys), Monitor(settings, client, keys)
    assert (await probe.check()).components["store"].status == "ok"
    assert (await read_memory(client)).problem is None
    with full(server):
        await client.run("DEL", keys.replicas)  # as after ten seconds in which no replica could report
        found = await probe.check()
        assert found.status == "degraded"
        assert "memory of 1 MB is full" in found.components["store"].detail
        assert "the store is full" in found.components["model"].detail
        monitor.forget()
        seen, durable = await monitor.observe(), await durability(client)
        [alert] = [one for one in due_alerts(seen, durable, [], [], {}, False, settings) if one.name == "store_full"]
        assert (alert.severity, "is full" in alert.text) == ("critical", True)


async def test_lists_are_not_counted_while_the_disk_of_the_store_is_nearly_full(
    functions: Functions, server: Server, until: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    """What is written for a list, too, would bring the store to where it cannot write, and exits."""
    settings = functions.settings
    (settings.state_dir / "store").mkdir()
    here = {"ports": settings.ports.model_copy(update={"store": server.port})}

    def floor(megabytes: float) -> None:
        store = settings.store.model_copy(update={"url": None, "disk_floor_mb": megabytes})
        functions.ranking.settings = settings.model_copy(update={**here, "store": store})

    async def degraded() -> bool:
        return bool((await functions.recommend(user_id="ada"))["degraded"])

    async def well() -> bool:
        return not await degraded()

    assert await well()
    floor(10**9)
    await until(degraded)
    lost = functions.ranking.metrics.counts["exposures_lost"]
    answer = await functions.recommend(user_id="ada")
    assert len(answer["recommendations"]) == 10
    assert functions.ranking.metrics.counts["exposures_lost"] == lost + 1
    floor(0)
    await until(well)

"""One count of new events: what is simulated calls for no retraining, at whatever moment autopilot looks."""

import uuid
from collections.abc import Callable

import pytest

from configs import clock
from configs.event_types import load_event_types
from deployments.operations.monitor import Monitor
from deployments.operations.observation import events_since_training
from deployments.operations.prometheus_text import prometheus_text
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from features.serving.timeline import read_timeline
from models.bundle.writing import write_bundle
from tests.deployments.pilots import Pilots
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio


async def test_simulated_events_between_two_looks_call_for_nothing(pilots: Callable[..., Pilots]) -> None:
    found = pilots(mode="observe", new_events=10)
    settings, client, keys = found.settings, found.client, found.keys
    bundle = write_bundle(settings.bundles_dir, contents(), fields(), NOW_MS)
    await set_slot(client, keys, CHAMPION, bundle.name, str(bundle), "a test")
    await found.look()
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))

    async def record(n: int, context: dict[str, bool] | None) -> None:
        now_ms = clock.now_ms()
        await store.record_events(
            [
                Event(uuid.uuid4().hex, f"u{place}", "item 1", "view", now_ms, received_ms=now_ms, context=context)
                for place in range(n)
            ]
        )

    await record(40, {"simulated": True})
    await found.look(2)
    timeline = [entry.text for entry in await read_timeline(client, keys, 20)]
    assert not [text for text in timeline if "would retrain" in text]
    assert events_since_training(await Monitor(settings, client, keys).observe()) == 0
    await record(20, None)  # each of another user
    await found.look(2)
    assert [text for text in (entry.text for entry in await read_timeline(client, keys, 20)) if "would retrain" in text]


async def test_people_see_what_decides_beside_all_events(pilots: Callable[..., Pilots]) -> None:
    """Regression: they saw 5,213 events, a threshold of 1,000, and no training, since one robot had made them."""
    found = pilots(mode="observe", new_events=10)
    settings, client, keys = found.settings, found.client, found.keys
    assert (await Monitor(settings, client, keys).dashboard()).learning.events_counted is None
    bundle = write_bundle(settings.bundles_dir, contents(), fields(), NOW_MS)
    await set_slot(client, keys, CHAMPION, bundle.name, str(bundle), "a test")
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    now_ms = clock.now_ms()
    await store.record_events(
        [
            Event(uuid.uuid4().hex, user, "item 1", "view", now_ms, received_ms=now_ms)
            for user in ["robot"] * 40 + ["ada", "ben"]
        ]
    )
    await found.look(2)
    learning = (await Monitor(settings, client, keys).dashboard()).learning
    assert (learning.events_since_training, learning.events_counted, learning.new_events_threshold) == (42, 3, 10)
    text = prometheus_text(await Monitor(settings, client, keys).observe(), 10)
    assert "raycommend_events_counted 3.0" in text
    assert "raycommend_events_since_training 42.0" in text

"""One count of new events: what is simulated calls for no retraining, at whatever moment autopilot looks."""

import uuid
from collections.abc import Callable

import pytest

from configs import clock
from configs.event_types import load_event_types
from deployments.operations.monitor import Monitor
from deployments.operations.observation import events_since_training
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
    await record(20, None)
    await found.look(2)
    assert [text for text in (entry.text for entry in await read_timeline(client, keys, 20)) if "would retrain" in text]

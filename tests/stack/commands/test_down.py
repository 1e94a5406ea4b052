"""`make down` under load, and what is on disk then. Nothing comes after it on this stack."""

import asyncio
import threading
import time
from pathlib import Path

import httpx
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings
from deployments.local.stack_parts import store_binary
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION
from jobs.train.store_calls import current_slots
from models.bundle.reading import load_bundle
from tests.conftest import RunningStack, records
from tests.features.servers import Server
from tests.load import Ask, Load
from tests.stack.commands.starting import mentioning, start_up
from tests.trained_state import USER, answers
from tests.waiting import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.ends_stack]


async def events_of(settings: Settings, user_id: str) -> dict[str, int]:
    """The counted events of a user, read from the store."""
    client = connect(settings.store, settings.store_url)
    types = load_event_types("movies")
    [found] = await OnlineStore(client, keys_of(settings.store), settings.store, types).read_users([user_id])
    await client.aclose()
    return found.counters(types)


def anything(client: int, number: int) -> Ask:
    """A list, an event, and what the console answers, in turns."""
    event = {"user_id": "caller", "item_id": 1, "event_type": "click"}
    asks = (("recommend", {"user_id": 5}), ("events", event), ("trending", None), ("mlops/timeline", None))
    path, body = asks[number % len(asks)]
    return Ask(f"/api/v1/{path}", body)


def test_down_finishes_requests_and_leaves_all_on_disk(stack: RunningStack, probe_url: str, tmp_path: Path) -> None:
    """With a supervisor in the foreground, as under systemd: it takes over from the one in the background.

    What starts from the disk is in `test_up_from_disk`.
    """
    watched = records(stack.settings)
    foreground = start_up(stack.settings, "supervise")
    wait_for(lambda: records(stack.settings).get("supervisor", watched["supervisor"]).pid == foreground.pid, 240)
    assert {**records(stack.settings), "supervisor": watched["supervisor"]} == watched
    known = answers(stack.url)
    deadline = time.monotonic() + 60
    while httpx.get(f"{probe_url}/pid").status_code != 200:
        assert time.monotonic() < deadline
    finished: list[int] = []
    begun = tmp_path / "begun"
    asked = {"seconds": 4, "begun": str(begun)}
    slow = threading.Thread(
        target=lambda: finished.append(httpx.get(f"{probe_url}/slow", params=asked, timeout=30).status_code)
    )
    slow.start()
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with Load(stack.url, anything, clients=4, keep_alive=False, while_it_ends=True) as load:
        down = stack.command("down")
    slow.join()
    assert foreground.wait(timeout=60) == 0, foreground.communicate()
    foreground.communicate()
    assert (down.returncode, down.stdout.split()) == (
        0,
        ["supervisor:", "stopped", "ray:", "stopped", "mlflow:", "stopped", "store:", "stopped"],
    )
    assert finished == [200]
    assert load.failures == []
    assert load.statuses[200] > 0
    assert load.refused > 0
    assert mentioning(str(stack.settings.state_dir)) + mentioning(str(stack.settings.run_dir)) == []

    store = Server(store_binary(), stack.settings.state_dir / "store")
    try:
        again = stack.settings.model_copy(update={"store": stack.settings.store.model_copy(update={"url": store.url})})
        slot = current_slots(again)[CHAMPION]
        assert load_bundle(slot.path).manifest.version == slot.version == known["model_version"]
        assert asyncio.run(events_of(again, USER)) == known["user"]["events"] == {"like": 1}
    finally:
        store.stop()

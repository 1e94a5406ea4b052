from pathlib import Path

import pytest

from features.recording.online_store import OnlineStore
from features.serving.promotion import clear_slot, set_slot
from features.serving.slots import Control, Slot, SlotDecision, read_control, read_decisions, read_slots

pytestmark = pytest.mark.anyio


async def test_slots_point_at_versions_and_the_timeline_says_why(store: OnlineStore) -> None:
    client, keys = store.client, store.keys
    assert await read_slots(client, keys) == {}
    assert await read_control(client, keys) == Control(0, 0, 0, 0)
    await set_slot(client, keys, "champion", "v1", "/models/v1", "first model", 100)
    await set_slot(client, keys, "challenger", "v2", "file:///models/a%20b", "trial", 200)
    await set_slot(client, keys, "champion", "v2", "/models/v2", 'better: "MAP" +3 %', 300)
    assert await clear_slot(client, keys, "challenger", "trial ended", 400) == "v2"
    assert await read_slots(client, keys) == {
        "champion": Slot("v2", "/models/v2", 300, 'better: "MAP" +3 %', "a person")
    }
    assert await read_control(client, keys) == Control(0, 4, 0, 0)
    decisions = await read_decisions(client, keys, 3)
    assert decisions == [
        SlotDecision("challenger", None, "v2", 400, "trial ended", "a person"),
        SlotDecision("champion", "v2", "v1", 300, 'better: "MAP" +3 %', "a person"),
        SlotDecision("challenger", "v2", None, 200, "trial", "a person"),
    ]


async def test_an_unknown_slot_is_refused(store: OnlineStore) -> None:
    with pytest.raises(ValueError, match="'best'"):
        await set_slot(store.client, store.keys, "best", "v1", "/x", "why")


def test_the_path_of_a_slot() -> None:
    assert Slot("v", "/models/v1", 0, "").path == Path("/models/v1")
    assert Slot("v", "file:///models/a%20b", 0, "").path == Path("/models/a b")

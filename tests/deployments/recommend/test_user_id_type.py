"""A list names its user as the data set types ids, however the request wrote the id."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from configs import clock
from configs.event_types import load_event_types
from data.dataset import id_types
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from models.bundle.writing import write_bundle
from tests.deployments.recommend.conftest import Functions
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio


async def test_the_users_id_is_typed_as_the_champions_data_set_has_it(
    functions: Functions,
    client: StoreClient,
    keys: Keys,
    until: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    """An id came back in the type that was sent: "196" as text where GET /users/196 gave the number."""
    settings = functions.settings
    assert [(await functions.recommend(user_id=given))["user_id"] for given in (196, "196", "ada")] == [
        "196",
        "196",
        "ada",
    ]
    typed = fields(user_id_type="int", item_id_type="int")
    path = write_bundle(settings.bundles_dir, contents(2), typed, NOW_MS + 5_000)
    await set_slot(client, keys, CHAMPION, path.name, str(path), "a test")

    async def followed() -> bool:
        return isinstance((await functions.recommend(user_id="1"))["user_id"], int)

    await until(followed)
    now_ms = clock.now_ms()
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    await store.record_events([Event("e1", "196", "item 3", "view", now_ms, None, now_ms)])
    asked = [196, "196", "196", "ada", "007", 2**53, str(2**53)]
    answers = [await functions.recommend(user_id=given) for given in asked]
    assert [answer["user_id"] for answer in answers] == [196, 196, 196, "ada", "007", str(2**53), str(2**53)]
    assert any(answer["cache_hit"] for answer in answers[:3])


def test_without_a_data_set_ids_are_texts(tmp_path: Path) -> None:
    assert id_types(tmp_path) == ("str", "str")
    meta = {"name": "t", "user_id_type": "int", "item_id_type": "str", "n_interactions": 1, "n_users": 1, "n_items": 1}
    meta |= {"first_ms": 0, "last_ms": 0, "fingerprint": "", "source": "", "source_hash": "", "files": {}}
    (tmp_path / "dataset.json").write_text(json.dumps(meta))
    assert id_types(tmp_path) == ("int", "str")

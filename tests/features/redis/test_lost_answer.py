"""A lock whose answer got lost on the way is held by whoever asked for it, who does not take itself for another."""

import pytest

from configs.settings import Store
from features.recording.online_store import OnlineStore
from features.redis.lock import exclusive
from tests.features.lost_answer import losing_the_answer

pytestmark = pytest.mark.anyio


async def test_a_lock_knows_its_own_holder(valkey_url: str, valkey_store: OnlineStore, limits: Store) -> None:
    key = valkey_store.keys.lock("test")
    async with losing_the_answer(valkey_url, limits, b"\r\nNX\r\n") as (behind, lost):
        async with exclusive(behind, key, "a job", "{} has it") as lock:
            assert len(lost) == 1
            await lock.check()
        assert await valkey_store.client.run("EXISTS", key) == 0

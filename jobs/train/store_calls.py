"""Reading and setting the model slots, and telling a result, from a job, which has no event loop of its own."""

import asyncio

from configs.settings import Settings
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.retraining_run import RunResult, keep_result
from features.serving.slots import Slot, read_slots, set_slot


def current_slots(settings: Settings) -> dict[str, Slot]:
    """The slots that serve something. Raises `features.redis.errors.StoreError`."""

    async def read() -> dict[str, Slot]:
        client = connect(settings.patient_store, settings.store_url)
        try:
            return await read_slots(client, keys_of(settings.store))
        finally:
            await client.aclose()

    return asyncio.run(read())


def point_slot(settings: Settings, name: str, version: str, uri: str, reason: str) -> None:
    """Let a slot serve a version. Raises `features.redis.errors.StoreError`."""

    async def change() -> None:
        client = connect(settings.patient_store, settings.store_url)
        try:
            await set_slot(client, keys_of(settings.store), name, version, uri, reason)
        finally:
            await client.aclose()

    asyncio.run(change())


def tell_result(settings: Settings, run_id: str, result: RunResult) -> None:
    """Say what a retraining found. Raises `features.redis.errors.StoreError`."""

    async def tell() -> None:
        client = connect(settings.patient_store, settings.store_url)
        try:
            await keep_result(client, keys_of(settings.store), run_id, result)
        finally:
            await client.aclose()

    asyncio.run(tell())

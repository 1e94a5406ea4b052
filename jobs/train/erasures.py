"""Users who asked to be forgotten: the data set on disk still names them, so a training has to leave them out."""

import asyncio

from configs.settings import Settings
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.users.erasure import Erasures, read_erasures


def current_erasures(settings: Settings) -> Erasures:
    """The tombstones of the online store. Raises `features.redis.errors.StoreError`."""

    async def read() -> Erasures:
        client = connect(settings.patient_store, settings.store_url)
        try:
            return await read_erasures(client, keys_of(settings.store))
        finally:
            await client.aclose()

    return asyncio.run(read())

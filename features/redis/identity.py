"""Which store this is. It is made once, and gone with the store: what is kept elsewhere about a store can name it."""

import secrets

from features.redis.connection import StoreClient
from features.redis.keys import Keys

_FIELD = "id"


async def store_identity(client: StoreClient, keys: Keys) -> str:
    """16 hexadecimal digits that no other store has. Raises `StoreError`."""
    found: bytes | None = await client.run("HGET", keys.meta, _FIELD)
    if found is None:
        await client.run("HSETNX", keys.meta, _FIELD, secrets.token_hex(8))
        found = await client.run("HGET", keys.meta, _FIELD)
    return bytes(found or b"").decode()


async def take_identity(client: StoreClient, keys: Keys, identity: str) -> None:
    """Let a store that was restored be the one of its backup. Raises `StoreError`."""
    await client.run("HSET", keys.meta, _FIELD, identity)

"""What is fixed when a store is created: its format and its number of partitions."""

from configs.settings import Store
from configs.versions.formats import STORE, FormatError
from configs.versions.program import program_version
from features.redis.connection import StoreClient
from features.redis.errors import LayoutError
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

_SCRIPT = Script("state/check_layout")


async def check_layout(client: StoreClient, keys: Keys) -> None:
    """Write the layout into an empty store, or compare it with the store's own.

    A store of an older format that this version reads bears the present one from then on, since this version writes
    into it: the version before refuses it then.

    Raises:
        LayoutError: a later version has written the store, or it has other partitions: users would be looked for in
            the wrong one.
        StoreUnavailable: no answer.
    """
    args = [STORE.current, STORE.oldest, keys.partitions, program_version()]
    found, partitions, writer = await run_script(client, _SCRIPT, [keys.meta], args)
    try:
        STORE.check(int(found), "the store", None if writer is None else writer.decode())
    except FormatError as error:
        raise LayoutError(str(error)) from None
    if (found_partitions := int(partitions)) != keys.partitions:
        raise LayoutError(
            f"the store was created with {found_partitions} partitions, the setting store.partitions says "
            f"{keys.partitions}: set it to {found_partitions}, or restore a backup into an empty store"
        )


def keys_of(store: Store) -> Keys:
    """The keys that the settings ask for."""
    return Keys(store.prefix, store.partitions)


async def read_seeded(client: StoreClient, keys: Keys) -> str | None:
    """Which data set's features the store holds completely; None when no rebuild has finished yet."""
    found: bytes | None = await client.run("HGET", keys.meta, "seeded")
    return None if found is None else found.decode()


async def mark_seeded(client: StoreClient, keys: Keys, fingerprint: str | None) -> None:
    """Note that a rebuild has finished (or, with None, that one begins)."""
    if fingerprint is None:
        await client.run("HDEL", keys.meta, "seeded")
    else:
        await client.run("HSET", keys.meta, "seeded", fingerprint)

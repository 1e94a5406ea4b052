"""`python -m jobs.promote VERSION | rollback`: let the champion's slot serve another version.

The slot is one value, changed by one script; the bundle is verified before. What the registry says follows: its alias
is set afterwards, and a registry that is away does not stop a rollback.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from configs.settings import Settings, SettingsError, load_settings
from features import promotion
from features.connection import connect
from features.errors import StoreError
from features.layout import keys_of
from features.promotion import ROLLBACK, PromotionError, rollback_reason
from features.slots import CHAMPION
from jobs.registry import Registry, RegistryUnavailable


def promote(settings: Settings, version: str, reason: str) -> str | None:
    """Let the champion's slot serve `version`, now.

    Returns:
        what the registry had to say where its alias could not be set, None where it was.

    Raises:
        PromotionError: there is no such bundle, or it is damaged, or it serves already.
        StoreError: the slot cannot be set.
    """

    async def change() -> None:
        client = connect(settings.patient_store, settings.store_url)
        try:
            await promotion.promote(client, keys_of(settings.store), settings.bundles_dir, version, reason)
        finally:
            await client.aclose()

    asyncio.run(change())
    try:
        Registry(settings).point_alias(CHAMPION, version)
    except RegistryUnavailable as error:
        return str(error)
    return None


def previous_champion(settings: Settings) -> str:
    """The version to roll back to. Raises `PromotionError` where there is none, and `StoreError`."""

    async def read() -> str:
        client = connect(settings.patient_store, settings.store_url)
        try:
            return await promotion.previous_champion(client, keys_of(settings.store))
        finally:
            await client.aclose()

    return asyncio.run(read())


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m jobs.promote", description=__doc__.split("\n")[0])
    parser.add_argument("version", help=f"a version, or `{ROLLBACK}` for the one that served before")
    parser.add_argument("--reason", default="a person asked for it", help="written beside the decision")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        version, reason = given.version, given.reason
        if version == ROLLBACK:
            version, reason = previous_champion(settings), rollback_reason(reason)
        problem = promote(settings, version, reason)
    except (PromotionError, SettingsError, StoreError) as error:
        print(f"promote: {error}", file=sys.stderr)
        return 1
    print(f"slot {CHAMPION} serves {version}")
    if problem is not None:
        print(f"the registry's alias was not set: {problem}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

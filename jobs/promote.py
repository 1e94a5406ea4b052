"""`python -m jobs.promote VERSION | rollback`: let the champion's slot serve another version.

The slot is one value, changed by one script; the bundle is verified before. What the registry says follows: its alias
is set afterwards, and a registry that is away does not stop a rollback.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from configs.settings import Settings, SettingsError, load_settings
from features.connection import connect
from features.errors import StoreError
from features.layout import keys_of
from features.slots import CHAMPION, Decision, read_decisions
from jobs.registry import Registry, RegistryUnavailable
from jobs.slots import current_slots, point_slot
from models.bundle import BundleError, list_bundles, load_bundle

ROLLBACK = "rollback"


class PromotionError(ValueError):
    """The version cannot be served; the message says why."""


def promote(settings: Settings, version: str, reason: str) -> str | None:
    """Let the champion's slot serve `version`, now.

    Returns:
        what the registry had to say where its alias could not be set, None where it was.

    Raises:
        PromotionError: there is no such bundle, or it is damaged, or it serves already.
        StoreError: the slot cannot be set.
    """
    slot = current_slots(settings).get(CHAMPION)
    if slot is not None and slot.version == version:
        raise PromotionError(f"{version} is the champion already")
    found = {path.name: path for path in list_bundles(settings.bundles_dir)}
    if version not in found:
        known = ", ".join(list(found)[-5:]) or "none"
        raise PromotionError(f"there is no version {version!r}; the latest are {known}")
    try:
        load_bundle(found[version])
    except BundleError as error:
        raise PromotionError(f"{version} cannot be served: {error}") from error
    point_slot(settings, CHAMPION, version, str(found[version]), reason)
    try:
        Registry(settings).point_alias(CHAMPION, version)
    except RegistryUnavailable as error:
        return str(error)
    return None


def previous_champion(settings: Settings) -> str:
    """The version that the champion's slot served before the present one.

    A rollback of a rollback goes further back, not forth: versions that were rolled back from are skipped.

    Raises:
        PromotionError: there was none, or its bundle is gone.
        StoreError: the decisions cannot be read.
    """

    async def read() -> list[Decision]:
        client = connect(settings.patient_store, settings.store_url)
        try:
            return await read_decisions(client, keys_of(settings.store), limit=1000)
        finally:
            await client.aclose()

    decisions = [decision for decision in asyncio.run(read()) if decision.slot == CHAMPION]
    version = earlier(decisions)
    if version is None:
        raise PromotionError("the champion's slot served nothing before: there is nothing to roll back to")
    return version


def earlier(decisions: Sequence[Decision]) -> str | None:
    """The version to roll back to; None where there is none.

    Args:
        decisions: of one slot, the newest first.
    """
    served: list[str] = []  # a stack: promotions push, rollbacks pop
    for decision in reversed(decisions):
        if decision.version is None:
            continue
        if decision.reason.startswith(ROLLBACK) and len(served) > 1 and served[-2] == decision.version:
            served.pop()
        elif not served or served[-1] != decision.version:
            served.append(decision.version)
    return served[-2] if len(served) > 1 else None


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
            version, reason = previous_champion(settings), f"{ROLLBACK}: {reason}"
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

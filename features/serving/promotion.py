"""Which version a slot serves: promotion, and the way back. The job and the HTTP interface share it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from configs import clock
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.rollout import read_rollout, set_rollout
from features.serving.slots import CHAMPION, SlotDecision, read_decisions, read_slots, set_slot
from models.bundle.arrays import BundleError
from models.bundle.reading import list_bundles, load_bundle

ROLLBACK = "rollback"
_LOOKED_BACK = 1000


class PromotionError(ValueError):
    """The version cannot be served; the message says why."""


class UnknownVersionError(PromotionError):
    """There is no such bundle."""


class AlreadyServedError(PromotionError):
    """The slot serves that version already, or no longer the one that the caller saw."""


class NothingBeforeError(PromotionError):
    """The slot served nothing before: there is nothing to roll back to."""


async def promote(
    client: StoreClient, keys: Keys, bundles_dir: Path, version: str, reason: str, slot: str = CHAMPION
) -> None:
    """Verify the bundle of `version` and let `slot` serve it, now. A rollout of what becomes the champion has ended.

    Raises:
        PromotionError: there is no such bundle, or it is damaged, or it serves already.
        StoreError: the slot cannot be set.
    """
    current = (await read_slots(client, keys)).get(slot)
    if current is not None and current.version == version:
        raise AlreadyServedError(f"{version} is the {slot} already")
    found = {path.name: path for path in list_bundles(bundles_dir)}
    if version not in found:
        known = ", ".join(list(found)[-5:]) or "none"
        raise UnknownVersionError(f"there is no version {version!r}; the latest are {known}")
    try:
        await asyncio.to_thread(load_bundle, found[version])
    except BundleError as error:
        raise PromotionError(f"{version} cannot be served: {error}") from error
    await set_slot(client, keys, slot, version, str(found[version]), reason)
    rollout = await read_rollout(client, keys)
    if slot == CHAMPION and rollout is not None and rollout.version == version:
        await set_rollout(client, keys, 0.0, f"{version} is the champion now", clock.now_ms())


async def previous_champion(client: StoreClient, keys: Keys) -> str:
    """The version that the champion's slot served before the present one.

    A rollback of a rollback goes further back, not forth: versions that were rolled back from are skipped.

    Raises:
        NothingBeforeError: there was none.
        StoreError: the decisions cannot be read.
    """
    decisions = await read_decisions(client, keys, limit=_LOOKED_BACK)
    version = earlier([decision for decision in decisions if decision.slot == CHAMPION])
    if version is None:
        raise NothingBeforeError("the champion's slot served nothing before: there is nothing to roll back to")
    return version


def rollback_reason(reason: str) -> str:
    """How a rollback is written into the timeline, by which `earlier` knows it again."""
    return f"{ROLLBACK}: {reason}"


def earlier(decisions: Sequence[SlotDecision]) -> str | None:
    """The version to roll back to; None where there is none.

    Args:
        decisions: the decisions about one slot, the newest first.
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

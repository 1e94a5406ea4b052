"""Which version a slot serves: promotion, and the way back. Jobs, autopilot and the HTTP interface share it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from configs import clock
from features.experiments.steps import stop
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import (
    AUTOPILOT,
    PERSON,
    Guard,
    ServingState,
    StateChange,
    StateConflictError,
    StateMovedError,
    by_hand,
    change,
    read_state,
)
from features.serving.slots import CHAMPION, SLOTS, Slot, SlotDecision, read_decisions
from features.serving.timeline import Entry
from models.bundle.arrays import BundleError
from models.bundle.reading import list_bundles, load_bundle

ROLLBACK = "rollback"
_LOOKED_BACK = 1000


class PromotionError(ValueError):
    """The version cannot be served; the message says why."""


class UnknownVersionError(PromotionError):
    """There is no such bundle."""


class AlreadyServedError(PromotionError):
    """The slot serves that version already."""


class NothingBeforeError(PromotionError):
    """The slot served nothing before: there is nothing to roll back to."""


async def promote(
    client: StoreClient,
    keys: Keys,
    bundles_dir: Path,
    version: str,
    reason: str,
    slot: str = CHAMPION,
    who: str = PERSON,
) -> str | None:
    """Verify the bundle of `version` and let `slot` serve it, now.

    Returns:
        the version that the slot served before.

    Raises:
        PromotionError: there is no such bundle, or it is damaged, or it serves already.
        SlotInUseError: something needs the slot as it is.
        StoreError: the slot cannot be set.
    """
    if (await read_state(client, keys)).serving(slot) == version:
        raise AlreadyServedError(f"{version} is the {slot} already")
    uri = await verified(bundles_dir, version)

    def decide(state: ServingState) -> StateChange:
        if state.serving(slot) == version:
            raise AlreadyServedError(f"{version} is the {slot} already")
        return StateChange(with_slot(state, slot, Slot(version, uri, clock.now_ms(), reason), who), who, reason)

    return (await change(client, keys, decide)).serving(slot)


async def verified(bundles_dir: Path, version: str) -> str:
    """Where the bundle of a version lies, once it is seen to be whole.

    Raises:
        PromotionError: there is no such bundle, or it is damaged.
    """
    found = {path.name: path for path in list_bundles(bundles_dir)}
    if version not in found:
        known = ", ".join(list(found)[-5:]) or "none"
        raise UnknownVersionError(f"there is no version {version!r}; the latest are {known}")
    try:
        await asyncio.to_thread(load_bundle, found[version])
    except BundleError as error:
        raise PromotionError(f"{version} cannot be served: {error}") from error
    return str(found[version])


async def set_slot(
    client: StoreClient,
    keys: Keys,
    name: str,
    version: str,
    uri: str,
    reason: str,
    now_ms: int | None = None,
    who: str = PERSON,
    seen: int | None = None,
) -> None:
    """Let a slot serve a version whose bundle the caller has verified.

    Args:
        seen: the version of the state on which that was decided; refuse if the slot was changed since.

    Raises:
        ValueError: no slot has that name.
        StateConflictError: the slot is in use, or was changed since.
    """
    if name not in SLOTS:
        raise ValueError(f"no such slot: {name!r}; there are {', '.join(SLOTS)}")
    time_ms = clock.now_ms() if now_ms is None else now_ms

    def decide(state: ServingState) -> StateChange:
        state.unmoved(name, seen)
        return StateChange(
            with_slot(state, name, Slot(version, uri, time_ms, reason), who), who, reason, time_ms=time_ms
        )

    await change(client, keys, decide)


async def clear_slot(
    client: StoreClient, keys: Keys, name: str, reason: str, now_ms: int | None = None, who: str = PERSON
) -> str:
    """Let a slot serve nothing. Returns the version that it served.

    Raises:
        SlotInUseError: something needs the slot as it is.
        StateConflictError: it is empty already.
    """

    def decide(state: ServingState) -> StateChange:
        if name not in state.slots:
            raise StateConflictError(f"the {name} slot is empty already")
        slots = {slot: found for slot, found in state.slots.items() if slot != name}
        return StateChange(replace(state, slots=slots), who, reason, time_ms=now_ms)

    return (await change(client, keys, decide)).slots[name].version


async def roll_back(
    client: StoreClient,
    keys: Keys,
    bundles_dir: Path,
    reason: str,
    expected: str | None = None,
    who: str = PERSON,
) -> tuple[str, str]:
    """Let the champion serve what it served before. Experiments that compare the champion end by it.

    Args:
        expected: refuse if the champion is not this version: a repeated click goes back once.

    Returns:
        the version that serves now, and the one before.

    Raises:
        StateMovedError: the champion is not `expected`, or was changed meanwhile.
        PromotionError: there is nothing to go back to, or it cannot be served.
    """
    state = await read_state(client, keys)
    serving = state.serving(CHAMPION)
    if expected not in (None, serving):
        raise StateMovedError(f"the champion is {serving or 'nothing'}, not {expected}")
    decisions = await read_decisions(client, keys, limit=_LOOKED_BACK)
    of_champion = [decision for decision in decisions if decision.slot == CHAMPION]
    version = earlier(of_champion)
    if version is None or serving is None:
        raise NothingBeforeError(_why_not_back(serving, of_champion))
    uri = await verified(bundles_dir, version)
    await roll_back_to(client, keys, version, uri, reason, state.version, who)
    return version, serving


def _why_not_back(serving: str | None, decisions: Sequence[SlotDecision]) -> str:
    """Why there is nothing to roll back to, and what to do. Args: decisions about the champion, the newest first."""
    if serving is None:
        return "the champion's slot serves nothing: promote a version"
    latest = next((decision for decision in decisions if decision.version is not None), None)
    if latest is not None and latest.reason.startswith(ROLLBACK) and latest.previous:
        return (
            f"the champion was rolled back from {latest.previous} to {serving} already, and nothing served before "
            f"{serving}; to serve {latest.previous} again, promote it"
        )
    return f"{serving} is the first version that the champion's slot serves; to serve another one, promote it"


async def roll_back_to(
    client: StoreClient,
    keys: Keys,
    version: str,
    uri: str,
    reason: str,
    seen: int,
    who: str = PERSON,
    lines: tuple[Entry, ...] = (),
) -> None:
    """Let the champion serve a version again. This always works, since it is the way out of harm: experiments that
    compare the champion are stopped by the same change, and nothing watches it any more.

    Raises:
        StateMovedError: the champion was changed after `seen`, the version of the state on which this was decided.
    """
    words = rollback_reason(reason)

    def decide(state: ServingState) -> StateChange:
        state.unmoved(CHAMPION, seen)
        now_ms = clock.now_ms()
        ended = {
            name: stop(one, now_ms, f"the champion was rolled back: {reason}")
            for name, one in state.experiments.items()
            if one.status == "running" and CHAMPION in one.slots.values()
        }
        freed = replace(state, experiments={**state.experiments, **ended}, guard=None)
        return StateChange(
            with_slot(freed, CHAMPION, Slot(version, uri, now_ms, words), who), who, words, lines, "stopped"
        )

    await change(client, keys, decide)


def with_slot(state: ServingState, name: str, slot: Slot, who: str) -> ServingState:
    """The state in which a slot serves another version. A rollout of what becomes the champion has ended, and what a
    person promotes takes the place of what was watched."""
    after = replace(state, slots={**state.slots, name: replace(slot, who=who)})
    if name != CHAMPION:
        return after
    over = state.rollout is not None and state.rollout.version == slot.version
    yields = by_hand(who) or (state.guard is not None and state.guard.until_ms <= clock.now_ms())
    return replace(after, rollout=None if over else state.rollout, guard=None if yields else state.guard)


async def watch(client: StoreClient, keys: Keys, guard: Guard, line: Entry) -> None:
    """Begin to watch the champion.

    Raises:
        StateMovedError: the champion is not the version to be watched any more.
    """

    def decide(state: ServingState) -> StateChange:
        if state.serving(CHAMPION) != guard.version:
            raise StateMovedError(f"the champion is not {guard.version} any more")
        return StateChange(replace(state, guard=guard), AUTOPILOT, line.text, (line,))

    await change(client, keys, decide)


async def end_watch(client: StoreClient, keys: Keys, version: str, line: Entry) -> None:
    """Watch a version no more."""

    def decide(state: ServingState) -> StateChange:
        over = state.guard is not None and state.guard.version == version
        return StateChange(replace(state, guard=None if over else state.guard), AUTOPILOT, line.text, (line,))

    await change(client, keys, decide)


def rollback_reason(reason: str) -> str:
    """How a rollback is written into the timeline, by which `earlier` knows it again."""
    return f"{ROLLBACK}: {reason}"


def earlier(decisions: Sequence[SlotDecision]) -> str | None:
    """The version to roll back to; None where there is none. A rollback of a rollback goes further back, not forth:
    versions that were rolled back from are skipped.

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

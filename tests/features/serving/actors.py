"""People, jobs and autopilot who change the serving state at once, in an order that a test chooses; and what each of
their steps should do, said again in the plainest way."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from features.experiments.changes import change_experiment
from features.experiments.experiment import ExperimentError
from features.experiments.steps import start, stop
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.wire import Command
from features.serving.promotion import clear_slot, earlier, roll_back_to, set_slot, watch, with_slot
from features.serving.retraining_run import advance_run, begin_run
from features.serving.rollout import set_rollout
from features.serving.run_record import new_run
from features.serving.serving_state import (
    AUTOPILOT,
    PERSON,
    Guard,
    ServingState,
    StateConflictError,
    read_state,
)
from features.serving.slots import Slot, read_decisions
from features.serving.timeline import entry

WATCHED_MS = 2**52
TIMES_MS = itertools.count(1_000)
"""Every decision has a time of its own, so that putting a version where it is already is a change too."""
COMPARED = {"e1": ("champion", "challenger"), "e2": ("champion", "challenger-2"), "e3": ("challenger", "challenger-2")}


class RefusedError(Exception):
    """The plain rules do not allow a step."""


@dataclass(frozen=True)
class Plain:
    """The serving state without anything that does not matter here."""

    version: int = 0
    slots: dict[str, str] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    running: dict[str, dict[str, str]] = field(default_factory=dict)
    """experiment -> slot -> the version that it compares."""
    stopped: frozenset[str] = frozenset()
    rollout: tuple[float, str] | None = None
    guard: str | None = None
    run: str | None = None

    @staticmethod
    def of(state: ServingState) -> "Plain":
        experiments = state.experiments.values()
        return Plain(
            version=state.version,
            slots={name: slot.version for name, slot in state.slots.items()},
            moved=dict(state.moved),
            running={
                one.id: {slot: one.versions[variant] for variant, slot in one.slots.items()}
                for one in experiments
                if one.status == "running"
            },
            stopped=frozenset(one.id for one in experiments if one.status == "stopped"),
            rollout=None if state.rollout is None else (state.rollout.share, state.rollout.version),
            guard=None if state.guard is None else state.guard.version,
            run=None if state.run is None else state.run.run_id,
        )

    def needs(self) -> list[tuple[str, str]]:
        """Slots that are in use, each with the version that it must serve."""
        found = [pair for compared in self.running.values() for pair in compared.items()]
        found += [("challenger", self.rollout[1])] if self.rollout else []
        return found + ([("champion", self.guard)] if self.guard else [])

    def with_slot(self, slot: str, version: str | None) -> "Plain":
        slots = {name: found for name, found in self.slots.items() if name != slot}
        slots |= {} if version is None else {slot: version}
        over = slot == "champion" and self.rollout is not None and self.rollout[1] == version
        after = replace(self, slots=slots, moved={**self.moved, slot: self.version + 1})
        after = replace(after, rollout=None) if over else after
        return require(after, all(slots.get(name) == wanted for name, wanted in after.needs() if name == slot))


def require(after: Plain, allowed: bool) -> Plain:
    if not allowed:
        raise RefusedError
    return after


Rule = Callable[[Plain], Plain]
"""What a change should do to the state that it meets. Raises `RefusedError`."""


@dataclass(frozen=True)
class Commit:
    """A change that was written, and what it should have done."""

    version: int
    rule: Rule


class Actor(StoreClient):
    """A client of the store that takes a turn when it is told to.

    Args:
        client: the connection.
        commits: where every change is put down, in the order in which the store took them.
        lose: whether the next answer gets lost, so that the connection sends the same again.
    """

    def __init__(self, client: StoreClient, keys: Keys, commits: list[Commit], lose: Callable[[], bool]) -> None:
        super().__init__(client.raw, client.timeout_s, client._links)
        self.keys, self.commits, self._lose = keys, commits, lose
        self.waits, self._go = asyncio.Event(), asyncio.Event()
        self.rule: Rule = lambda plain: plain
        self.refused = False

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        self.waits.set()
        await self._go.wait()
        self._go.clear()
        answers = await super().pipeline(commands)
        if commands[0][0] == "EVALSHA" and isinstance(answers[0], int):
            if self._lose():
                answers = await super().pipeline(commands)
            if answers[0] >= 0:
                self.commits.append(Commit(answers[0], self.rule))
        return answers

    async def exchange(self, commands: Sequence[Command], confirm: bool = False) -> list[Any]:
        return await self.pipeline(commands)

    async def turn(self, task: asyncio.Task[None]) -> None:
        """Let the actor go on up to its next question to the store, or to its end."""
        self.waits.clear()
        self._go.set()
        waiting = asyncio.ensure_future(self.waits.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def attempt(self, step: "Step") -> None:
        try:
            await step.take(self)
        except (StateConflictError, ExperimentError):
            self.refused = True


@dataclass(frozen=True)
class Step:
    """What somebody wants, in words, and how it is done."""

    name: str
    take: Callable[[Actor], Awaitable[None]]


# What people, jobs and autopilot do. Each says its rule before it asks for the change.


def promotion(slot: str, version: str) -> Step:
    async def take(actor: Actor) -> None:
        def rule(plain: Plain) -> Plain:
            return replace(plain, guard=None if slot == "champion" else plain.guard).with_slot(slot, version)

        actor.rule = rule
        await set_slot(actor, actor.keys, slot, version, f"/{version}", "better", next(TIMES_MS), PERSON)

    return Step(f"a person puts {version} into {slot}", take)


def publication(slot: str, version: str) -> Step:
    async def take(actor: Actor) -> None:
        seen = (await read_state(actor, actor.keys)).version

        def rule(plain: Plain) -> Plain:
            return require(plain, plain.moved.get(slot, 0) <= seen).with_slot(slot, version)

        actor.rule = rule
        await set_slot(actor, actor.keys, slot, version, f"/{version}", "trained", next(TIMES_MS), "retraining r", seen)

    return Step(f"a retraining judges {version}, then puts it into {slot}", take)


def clearing(slot: str) -> Step:
    async def take(actor: Actor) -> None:
        actor.rule = lambda plain: require(plain, slot in plain.slots).with_slot(slot, None)
        await clear_slot(actor, actor.keys, slot, "not needed")

    return Step(f"a person clears {slot}", take)


def rollback(who: str) -> Step:
    async def take(actor: Actor) -> None:
        seen = (await read_state(actor, actor.keys)).version
        decisions = await read_decisions(actor, actor.keys)
        version = earlier([one for one in decisions if one.slot == "champion"])
        if version is None:
            return

        def rule(plain: Plain) -> Plain:
            require(plain, plain.moved.get("champion", 0) <= seen)
            ended = {name for name, compared in plain.running.items() if "champion" in compared}
            kept = {name: compared for name, compared in plain.running.items() if name not in ended}
            freed = replace(plain, running=kept, stopped=plain.stopped | ended, guard=None)
            return freed.with_slot("champion", version)

        actor.rule = rule
        await roll_back_to(actor, actor.keys, version, f"/{version}", "worse", seen, who)

    return Step(f"{who} looks at the champion, then rolls back", take)


def watching() -> Step:
    async def take(actor: Actor) -> None:
        version = (await read_state(actor, actor.keys)).serving("champion")
        if version is None:
            return
        actor.rule = lambda plain: require(replace(plain, guard=version), plain.slots.get("champion") == version)
        await watch(actor, actor.keys, Guard(version, "v0", WATCHED_MS), entry("guardrail", "watched"))

    return Step("autopilot looks at the champion, then watches it", take)


def starting(name: str) -> Step:
    async def take(actor: Actor) -> None:
        def rule(plain: Plain) -> Plain:
            free = name not in plain.running and name not in plain.stopped and plain.rollout is None
            free = free and not (name != "e2" and {"e1", "e3"} & plain.running.keys())  # these want the same users
            require(plain, free and all(slot in plain.slots for slot in COMPARED[name]))
            compared = {slot: plain.slots[slot] for slot in COMPARED[name]}
            return replace(plain, running={**plain.running, name: compared})

        actor.rule = rule
        await change_experiment(actor, actor.keys, name, lambda one, state: start(one, state, 5), "started", "go", 5)

    return Step(f"a person starts {name}", take)


def stopping(name: str) -> Step:
    async def take(actor: Actor) -> None:
        def rule(plain: Plain) -> Plain:
            require(plain, name in plain.running)
            kept = {other: compared for other, compared in plain.running.items() if other != name}
            return replace(plain, running=kept, stopped=plain.stopped | {name})

        actor.rule = rule
        await change_experiment(actor, actor.keys, name, lambda one, _: stop(one, 6, "enough"), "stopped", "enough", 6)

    return Step(f"a person stops {name}", take)


def rolling_out(share: float) -> Step:
    async def take(actor: Actor) -> None:
        def rule(plain: Plain) -> Plain:
            if share == 0:
                return replace(plain, rollout=None)
            require(plain, "challenger" in plain.slots and not plain.running)
            return replace(plain, rollout=(share, plain.slots["challenger"]))

        actor.rule = rule
        await set_rollout(actor, actor.keys, share, "by degrees", 7)

    return Step(f"a person gives the challenger {share:.0%}", take)


def retraining(slot: str, version: str) -> Step:
    """A whole run of policy `manual`: claimed, then ended with its model in a slot, if that was left alone."""

    async def take(actor: Actor) -> None:
        seen = (await read_state(actor, actor.keys)).version
        run = new_run("events", "many", "manual", 60, None, seen)
        actor.rule = lambda plain: require(replace(plain, run=run.run_id), plain.run is None)
        if await begin_run(actor, actor.keys, run, entry("retraining", "asked for", run.run_id)) is not None:
            actor.refused = True
            return

        def rule(plain: Plain) -> Plain:
            require(plain, plain.run == run.run_id and plain.moved.get(slot, 0) <= seen)
            return replace(plain, run=None).with_slot(slot, version)

        def put(state: ServingState) -> ServingState:
            state.unmoved(slot, seen)
            return with_slot(state, slot, Slot(version, f"/{version}", next(TIMES_MS), "passed"), AUTOPILOT)

        actor.rule = rule
        ended = run.at("ended", outcome="waiting", ended_ms=1)
        await advance_run(actor, actor.keys, run, ended, entry("retraining", "waiting", run.run_id), put)

    return Step(f"a retraining is claimed, then ends with {version} in {slot}", take)

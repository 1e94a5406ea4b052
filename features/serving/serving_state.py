"""The serving state: slots, experiments, rollout, promotion guard and retraining, which together decide what is served.

Whoever changes any of it goes through `change`. It reads the state, asks for the state to be, holds that to the one
rule of what is in use (`ServingState.claims`), and writes the difference with one script: only if the version is still
the one that was read, and together with a line that says who changed what, when and why.

Whoever decides on what was read earlier passes the version that it saw (`ServingState.unmoved`).
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from time import gmtime, strftime
from typing import Any, NamedTuple

import orjson

from configs import clock
from features.experiments.experiment import Experiment
from features.redis.connection import StoreClient
from features.redis.errors import StoreBusy
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script
from features.redis.stored import read_record
from features.serving.run_record import Run
from features.serving.slots import CHALLENGER, CHAMPION, Rollout, Slot, unpack
from features.serving.timeline import KEPT, Entry

PERSON, AUTOPILOT = "a person", "autopilot"
"""Who changes what is served. A person who came with an API key goes by the key's name: `key ops`."""
PLAN = "the experiment's plan"
"""What takes the steps of an experiment that were fixed at its start."""
FIRST_START = "the first start"
"""Who lets the first model serve."""
_RETRAINING = "retraining "
_REQUEST_KEPT_S = 60
_TRIES = 50
_CHANGE = Script("state/change_serving", REQUEST_KEPT_S=_REQUEST_KEPT_S)


def retraining_of(run_id: str, asker: str | None) -> str:
    """Who lets the model of a retraining serve that passed the gate: the retraining, for whoever asked for it."""
    return f"{_RETRAINING}{run_id}" + (f", asked for by {asker}" if asker else "")


def by_hand(who: str) -> bool:
    """Whether somebody decided on this very model, unlike autopilot and the gate of a retraining."""
    return who != AUTOPILOT and not who.startswith(_RETRAINING)


class StateConflictError(ValueError):
    """The serving state does not allow the change; the message says why, and what to do."""


class SlotInUseError(StateConflictError):
    """Something else needs the slot as it is; the message names it."""


class StateMovedError(StateConflictError):
    """The change was decided on what is no longer so."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A promotion that is watched. `previous` is the version that serves again if it does harm."""

    version: str
    previous: str
    until_ms: int


class Claim(NamedTuple):
    """A need of somebody that a slot goes on to serve a version."""

    slot: str
    version: str
    holder: str
    way_out: str


@dataclass(frozen=True)
class ServingState:
    """All that decides who gets which model, as it was read at one moment.

    Attributes:
        version: counts all changes.
        experiments: by id, the oldest first.
        moved: slot -> the version at which it was changed last; nothing for one that never was.
    """

    version: int
    slots: Mapping[str, Slot] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    rollout: Rollout | None = None
    guard: Guard | None = None
    run: Run | None = None
    last_run: Run | None = None
    moved: Mapping[str, int] = field(default_factory=dict)

    def serving(self, slot: str) -> str | None:
        """The version that a slot serves."""
        found = self.slots.get(slot)
        return found.version if found else None

    def unmoved(self, slot: str, seen: int | None) -> None:
        """Raises `StateMovedError` where the slot was changed after the version that the caller saw."""
        if seen is not None and self.moved.get(slot, 0) > seen:
            now = self.serving(slot) or "nothing"
            raise StateMovedError(
                f"the slot {slot} was changed meanwhile and serves {now} now; look again, then decide"
            )

    def claims(self, now_ms: int) -> list[Claim]:
        """The one rule of what is in use: running experiments, rollout and guard need their slots as they are."""
        found = [
            Claim(slot, one.versions[variant], f"the experiment {one.id}", "stop it first")
            for one in self.experiments.values()
            if one.status == "running"
            for variant, slot in one.slots.items()
        ]
        if self.rollout is not None:
            share = f"the rollout, which gives it {self.rollout.share:.3g} of the traffic"
            found.append(Claim(CHALLENGER, self.rollout.version, share, "end it first"))
        if self.guard is not None and now_ms < self.guard.until_ms:
            until = strftime("%H:%M:%S UTC", gmtime(self.guard.until_ms / 1000))
            watch = f"the promotion guard, which watches {self.guard.version} until {until}"
            found.append(Claim(CHAMPION, self.guard.version, watch, "wait for that, or let a person promote it"))
        return found


@dataclass(frozen=True)
class StateChange:
    """A change: the state to be, and who wants it, why.

    Attributes:
        lines: of the timeline, beside those that changes of slots, rollout and experiments get by themselves.
        step: what happens to experiments, for their log.
        time_ms: when it was decided; None: now.
    """

    after: ServingState
    who: str
    reason: str
    lines: tuple[Entry, ...] = ()
    step: str = ""
    time_ms: int | None = None


async def read_state(client: StoreClient, keys: Keys) -> ServingState:
    """Read all that decides who gets which model. Raises `StoreUnavailable`."""
    # The versions first: what changes meanwhile is then newer than they say, and a change decided on it is refused.
    versions, slots, experiments, rollout, guard, run, last_run = await client.read(
        [
            *(("HGETALL", key) for key in (keys.versions, keys.slots, keys.experiments)),
            *(("GET", key) for key in (keys.rollout, keys.guard, keys.run, keys.last_run)),
        ]
    )
    found = [read_record(Experiment, raw) for raw in experiments.values()]
    counted = {name.decode(): int(value) for name, value in versions.items()}
    return ServingState(
        version=counted.get("serving", 0),
        slots={name.decode(): unpack(Slot, raw) for name, raw in slots.items()},
        experiments={one.id: one for one in sorted(found, key=lambda one: (one.created_ms, one.id))},
        rollout=None if rollout is None else unpack(Rollout, rollout),
        guard=None if guard is None else unpack(Guard, guard),
        run=None if run is None else read_record(Run, run),
        last_run=None if last_run is None else read_record(Run, last_run),
        moved={name[5:]: value for name, value in counted.items() if name.startswith("slot:")},
    )


async def change(client: StoreClient, keys: Keys, decide: Callable[[ServingState], StateChange | None]) -> ServingState:
    """Change the state; `decide` is asked again where somebody else was quicker. None leaves all as it is.

    Returns:
        the state as it was before; what `decide` made of it is in the store.

    Raises:
        SlotInUseError: the change takes a slot that is in use.
        StoreBusy: others keep changing the state.
        StoreError: the store does not answer; all was written, or nothing.
    """
    for _ in range(_TRIES):
        before = await read_state(client, keys)
        decision = decide(before)
        if decision is None or (decision.after == before and not decision.lines):
            return before
        now_ms = clock.now_ms() if decision.time_ms is None else decision.time_ms
        _check_use(before, decision.after, clock.now_ms())
        writes = _Writes(keys)
        _add_lines(writes, keys, before, decision, now_ms)
        _add_parts(writes, keys, before, decision.after)
        if await writes.run(client, before.version) >= 0:
            return before
    raise StoreBusy("others keep changing what serves; try again")


def _check_use(before: ServingState, after: ServingState, now_ms: int) -> None:
    """Raises `SlotInUseError` where the change leaves a claim without the version that it needs. What had lost its
    version before (an older release let that happen) hinders nothing but a further change of that slot."""
    held = before.claims(now_ms)
    for claim in after.claims(now_ms):
        touched = after.slots.get(claim.slot) != before.slots.get(claim.slot)
        if after.serving(claim.slot) != claim.version and (touched or claim not in held):
            raise SlotInUseError(f"the slot {claim.slot} is in use by {claim.holder}: {claim.way_out}")


class _Writes:
    """The writes of one change, for the script."""

    def __init__(self, keys: Keys) -> None:
        self._keys = [keys.versions, keys.request(secrets.token_hex(8))]
        self._writes: list[list[Any]] = []

    def add(self, command: str, key: str, *arguments: Any) -> None:
        if key not in self._keys:
            self._keys.append(key)
        self._writes.append([command, self._keys.index(key) + 1, *map(str, arguments)])

    def line(self, stream: str, **fields: Any) -> None:
        pairs = [part for pair in fields.items() for part in pair]
        self.add("XADD", stream, "MAXLEN", "~", KEPT, "*", *pairs)

    def put(self, key: str, value: str | None) -> None:
        self.add("DEL", key) if value is None else self.add("SET", key, value)

    async def run(self, client: StoreClient, seen: int) -> int:
        if not self._writes or self._writes[0][0] != "XADD":
            raise ValueError("every change of the serving state begins with the line that tells of it")
        return int(await run_script(client, _CHANGE, self._keys, [seen, orjson.dumps(self._writes)]))


def _add_lines(writes: _Writes, keys: Keys, before: ServingState, decision: StateChange, now_ms: int) -> None:
    after, who, reason = decision.after, decision.who, decision.reason
    for slot in sorted(_changed(before.slots, after.slots)):
        writes.line(
            keys.decisions, slot=slot, version=after.serving(slot) or "", previous=before.serving(slot) or "",
            reason=reason, time_ms=now_ms, who=who,
        )  # fmt: skip
    if before.rollout != after.rollout:
        if after.rollout is not None:
            share, text = after.rollout.share, f"rollout of {after.rollout.share:.3g} of the traffic: {reason}"
        else:
            ended = before.rollout.version if before.rollout else ""
            share = 0
            text = f"rollout ended: {f'{ended} is the champion now' if after.serving(CHAMPION) == ended else reason}"
        writes.line(
            keys.decisions, slot=CHALLENGER, version=after.serving(CHALLENGER) or "", previous="", reason=text,
            time_ms=now_ms, share=f"{share:g}", who=who,
        )  # fmt: skip
    for name in _changed(before.experiments, after.experiments):
        one = after.experiments[name]
        why = one.reason or reason if decision.step == "stopped" else reason
        writes.line(
            keys.experiment_changes, experiment=name, change=decision.step, reason=why, time_ms=now_ms, who=who,
            state=one.model_dump_json(),
        )  # fmt: skip
        if decision.step != "reweighed":  # A bandit's weights move often, and would hide what else there is to read.
            text = f"experiment {name} {decision.step}: {why}"
            writes.line(keys.timeline, e=Entry(time_ms=now_ms, kind="experiment", text=text, who=who).model_dump_json())
    for line in decision.lines:
        writes.line(keys.timeline, e=line.model_copy(update={"who": who}).model_dump_json())


def _add_parts(writes: _Writes, keys: Keys, before: ServingState, after: ServingState) -> None:
    for slot in _changed(before.slots, after.slots):
        found = after.slots.get(slot)
        if found is None:
            writes.add("HDEL", keys.slots, slot)
        else:
            writes.add("HSET", keys.slots, slot, _json(found))
        writes.add("HSET", keys.versions, f"slot:{slot}", before.version + 1)
    for name in _changed(before.experiments, after.experiments):
        writes.add("HSET", keys.experiments, name, after.experiments[name].model_dump_json())
    if before.rollout != after.rollout:
        writes.put(keys.rollout, _json(after.rollout))
    if before.guard != after.guard:
        writes.put(keys.guard, _json(after.guard))
    for key, run in ((keys.run, after.run), (keys.last_run, after.last_run)):
        if run != (before.run if key == keys.run else before.last_run):
            writes.put(key, None if run is None else run.model_dump_json())


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]


def _json(part: Slot | Rollout | Guard | None) -> str | None:
    return None if part is None else orjson.dumps(asdict(part)).decode()

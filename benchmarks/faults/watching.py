"""One fault from start to end: clients before, during and after it, and what they and the store say of it."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from benchmarks.faults.clients import Clients, Records
from benchmarks.faults.counting import find_events
from benchmarks.faults.stack import BrokenStack, wait_for
from features.redis.errors import StoreError

WARM_LISTS = 200
AFTER_LISTS = 200
WELL_S = 180.0


@dataclass(frozen=True)
class Fault:
    """Something that breaks, and what is promised of it.

    Attributes:
        name: in a few words, as the page shows it.
        promise: one sentence.
        break_it: breaks it, and returns when nothing more is done to the stack by hand; what it returns is noted.
        back_s: lists come again within this many seconds of the break; 0: no list fails.
        events_back_s: the same for events.
        unanswered: whether connections may break.
        prepare: what is done to the stack before any client asks; None for nothing.
    """

    name: str
    promise: str
    break_it: Callable[[BrokenStack], str]
    back_s: float
    events_back_s: float
    unanswered: bool = False
    prepare: Callable[[BrokenStack], None] | None = None


@dataclass
class FaultVerdict:
    """What was measured of one fault; `kept` is empty when the promise holds."""

    fault: Fault
    note: str
    lists: int
    failed: int
    back_s: float
    slowest_s: float
    degraded: int
    acknowledged: int
    refused: int
    lost: int
    doubled: int
    broken: list[str] = field(default_factory=list)


def watch(stack: BrokenStack, fault: Fault, tag: str, users: list[int | str], items: list[int | str]) -> FaultVerdict:
    """Break `fault` under load, wait until all is well, and compare."""
    if fault.prepare is not None:
        fault.prepare(stack)
    wait_for(stack.well, WELL_S, "the stack before the fault")
    note, undone = "", []
    with Clients(stack.url, tag, users, items) as clients:
        records = clients.records
        wait_for(lambda: records.lists > WARM_LISTS and len(records.acknowledged) > WARM_LISTS, 60, "lists and events")
        broken_at = time.monotonic()
        try:
            note = fault.break_it(stack)
            wait_for(stack.well, WELL_S, "the stack after the fault")
        except (TimeoutError, httpx.HTTPError, StoreError) as error:
            undone.append(str(error) or repr(error))
        lists, events = records.lists, len(records.acknowledged)
        with contextlib.suppress(TimeoutError):
            wait_for(
                lambda: records.lists > lists + AFTER_LISTS and len(records.acknowledged) > events + AFTER_LISTS,
                60,
                "lists and events afterwards",
            )
    verdict = _verdict(stack, fault, tag, records, broken_at, note)
    verdict.broken += undone
    return verdict


def _verdict(stack: BrokenStack, fault: Fault, tag: str, records: Records, broken_at: float, note: str) -> FaultVerdict:
    back_s = max(0.0, records.last_failure - broken_at)
    events_back_s = max(0.0, records.last_refusal - broken_at)
    verdict = FaultVerdict(
        fault,
        note,
        records.lists,
        sum(records.failed.values()),
        back_s,
        records.slowest_s,
        records.degraded,
        len(records.acknowledged),
        sum(records.refused.values()),
        lost=0,
        doubled=0,
    )
    say = verdict.broken.append
    try:
        found = find_events(stack.settings, stack.url, tag)
    except (httpx.HTTPError, StoreError) as error:
        say(f"the events could not be counted: {error!r}")
        return verdict
    verdict.lost, verdict.doubled = found.lost(records.acknowledged), found.doubled()
    if verdict.lost:
        say(f"{verdict.lost} acknowledged events are lost")
    if verdict.doubled:
        say(f"{verdict.doubled} events are there twice")
    if strangers := found.times.keys() - records.acknowledged - records.unknown:
        say(f"{len(strangers)} events nobody was told of, such as {min(strangers)}")
    if wrong := found.miscounted():
        say(f"the features of {wrong} users count something else than was recorded")
    if back_s > fault.back_s:
        say(
            f"lists failed until {back_s:.1f} s after the break, promised are {fault.back_s:.0f} s: "
            f"{dict(records.failed)}"
        )
    if events_back_s > fault.events_back_s:
        say(
            f"events were refused until {events_back_s:.1f} s after the break, promised are "
            f"{fault.events_back_s:.0f} s: {dict(records.refused)}"
        )
    if records.undocumented:
        say(f"answers in no documented form: {records.undocumented[:3]}")
    if not fault.unanswered and (cut := _cut(records)):
        say(f"connections broke: {cut}")
    if moved := [user for user, variants in records.variants.items() if len(variants) > 1]:
        say(f"{len(moved)} users changed their variant, such as {moved[0]}")
    return verdict


def _cut(records: Records) -> dict[str, int]:
    """Failures without an answer."""
    both = records.failed + records.refused
    return {name: number for name, number in both.items() if not name[0].isdigit() and name != "refused in a batch"}

"""The timeline: what was noticed and decided, each with its reason, beside the changes of the model slots."""

from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict

from configs import clock
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.slots import CHAMPION, SlotDecision, read_decisions

KEPT = 10_000
Kind = Literal["retraining", "trigger", "drift", "experiment", "guardrail", "alert", "slot"]


class Entry(BaseModel):
    """One line of the timeline."""

    # What another version of this wrote, before or after an upgrade, must still be read.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    time_ms: int
    kind: Kind
    text: str
    run_id: str | None = None
    model_version: str | None = None
    who: str | None = None
    """Who changed what users get; None for what was only noticed."""


def entry(kind: Kind, text: str, run_id: str | None = None, model_version: str | None = None) -> Entry:
    """An entry of this moment."""
    return Entry(time_ms=clock.now_ms(), kind=kind, text=text, run_id=run_id, model_version=model_version)


async def note(client: StoreClient, keys: Keys, line: Entry) -> None:
    """Write an entry. Raises `StoreError`."""
    await client.run("XADD", keys.timeline, "MAXLEN", "~", KEPT, "*", "e", line.model_dump_json())


async def read_timeline(client: StoreClient, keys: Keys, limit: int) -> list[Entry]:
    """The latest entries and changes of slots, newest first. Raises `StoreError`."""
    found = await client.run("XREVRANGE", keys.timeline, "+", "-", "COUNT", limit)
    entries = [Entry(**orjson.loads(fields[b"e"])) for _, fields in found]
    entries += [_of_decision(decision) for decision in await read_decisions(client, keys, limit)]
    return sorted(entries, key=lambda one: -one.time_ms)[:limit]


def _of_decision(decision: SlotDecision) -> Entry:
    if decision.version is None:
        text = f"the {decision.slot} slot was cleared (was {decision.previous})"
    else:
        was = f" (was {decision.previous})" if decision.previous else ""
        text = f"the {decision.slot} slot serves {decision.version}{was}"
    return Entry(
        time_ms=decision.time_ms,
        kind="slot",
        text=f"{text}: {decision.reason}",
        model_version=decision.version if decision.slot == CHAMPION else None,
        who=decision.who,
    )

"""Model slots: which version each serves, and the timeline of decisions that put it there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

import orjson

from configs import clock
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

CHAMPION, CHALLENGER = "champion", "challenger"
SlotName = Literal["champion", "challenger", "challenger-2"]
"""The last one is for experiments between three models; `serve_config.yaml` has a deployment for each."""
SLOTS: tuple[str, ...] = get_args(SlotName)
DECISIONS_KEPT = 10_000
_CHANGE = Script("change_slot", DECISIONS_KEPT=DECISIONS_KEPT)


@dataclass(frozen=True, slots=True)
class Slot:
    """The model version that a slot serves, since when and why."""

    version: str
    uri: str
    """Where the bundle lies: a path or a file: address."""
    since_ms: int
    reason: str

    @property
    def path(self) -> Path:
        """The bundle's directory, where `uri` names one on a file system."""
        parts = urlsplit(self.uri)
        return Path(unquote(parts.path)) if parts.scheme == "file" else Path(self.uri)


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """One change of a slot. `version` is None where the slot was cleared."""

    slot: str
    version: str | None
    previous: str | None
    time_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Control:
    """Versions that every change counts up; replicas poll them."""

    catalogue_version: int
    slots_version: int
    erasures_version: int
    traffic_version: int = 0
    """Counts changes of experiments and of the rollout."""


async def read_control(client: StoreClient, keys: Keys) -> Control:
    """All versions in one round trip. Raises `StoreUnavailable`."""
    found = await client.run("HMGET", keys.versions, "catalogue", "slots", "erasures", "traffic")
    return Control(*(int(version or 0) for version in found))


async def read_slots(client: StoreClient, keys: Keys) -> dict[str, Slot]:
    """The slots that serve something, by name."""
    found: dict[bytes, bytes] = await client.run("HGETALL", keys.slots)
    return {name.decode(): unpack_slot(raw) for name, raw in found.items()}


def unpack_slot(raw: bytes) -> Slot:
    """The slot in the JSON of the store."""
    return Slot(**orjson.loads(raw))


async def set_slot(
    client: StoreClient, keys: Keys, name: str, version: str, uri: str, reason: str, now_ms: int | None = None
) -> int:
    """Let a slot serve a version. Returns the slots version. Raises ValueError for a name that is no slot."""
    now_ms = clock.now_ms() if now_ms is None else now_ms
    slot = Slot(version, uri, now_ms, reason)
    return await _change(client, keys, name, orjson.dumps(asdict(slot)), version, reason, now_ms)


async def clear_slot(client: StoreClient, keys: Keys, name: str, reason: str, now_ms: int | None = None) -> int:
    """Let a slot serve nothing. Returns the slots version."""
    return await _change(client, keys, name, b"", "", reason, clock.now_ms() if now_ms is None else now_ms)


async def read_decisions(client: StoreClient, keys: Keys, limit: int = 100) -> list[SlotDecision]:
    """The latest changes of slots, newest first."""
    entries = await client.run("XREVRANGE", keys.decisions, "+", "-", "COUNT", limit)
    return [_decision(fields) for _, fields in entries]


def _decision(fields: Mapping[bytes, bytes]) -> SlotDecision:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    return SlotDecision(
        text["slot"], text["version"] or None, text["previous"] or None, int(text["time_ms"]), text["reason"]
    )


async def _change(
    client: StoreClient, keys: Keys, name: str, packed: bytes, version: str, reason: str, now_ms: int
) -> int:
    if name not in SLOTS:
        raise ValueError(f"no such slot: {name!r}; there are {', '.join(SLOTS)}")
    script_keys = [keys.slots, keys.versions, keys.decisions]
    return int(await run_script(client, _CHANGE, script_keys, [name, packed, version, reason, now_ms]))

"""Model slots: which version each serves, the decisions that put it there, and the rollout between two of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar, get_args
from urllib.parse import unquote, urlsplit

import orjson

from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.stored import known_fields

T = TypeVar("T")
CHAMPION, CHALLENGER = "champion", "challenger"
SlotName = Literal["champion", "challenger", "challenger-2"]
"""The last one is for experiments between three models; `serve_config.yaml` has a deployment for each."""
SLOTS: tuple[str, ...] = get_args(SlotName)


@dataclass(frozen=True, slots=True)
class Slot:
    """The model version that a slot serves, since when and why."""

    version: str
    uri: str
    """Where the bundle lies: a path or a file: address."""
    since_ms: int
    reason: str
    who: str | None = None
    """Who decided it; None in slots that an earlier version set."""

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
    who: str | None = None
    """None in decisions that an earlier version wrote."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """`share` of all users (above 0, at most 1) get the challenger's model."""

    share: float
    version: str
    since_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Control:
    """Versions that every change counts up; replicas poll them."""

    catalogue_version: int
    serving_version: int
    """Counts changes of the serving state (`features.serving.serving_state`)."""
    erasures_version: int
    access_version: int
    """Counts changes of the API keys (`features.access.key_records`)."""


async def read_control(client: StoreClient, keys: Keys) -> Control:
    """All versions in one round trip. Raises `StoreUnavailable`."""
    found = await client.run("HMGET", keys.versions, "catalogue", "serving", "erasures", "access")
    return Control(*(int(version or 0) for version in found))


async def read_slots(client: StoreClient, keys: Keys) -> dict[str, Slot]:
    """The slots that serve something, by name."""
    found: dict[bytes, bytes] = await client.run("HGETALL", keys.slots)
    return {name.decode(): unpack(Slot, raw) for name, raw in found.items()}


def unpack(kind: type[T], raw: bytes) -> T:
    """The dataclass in the JSON of the store. Fields that only a later version knows are left out."""
    names = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**known_fields(kind.__name__, names, orjson.loads(raw)))


async def read_decisions(client: StoreClient, keys: Keys, limit: int = 100) -> list[SlotDecision]:
    """The latest changes of slots, newest first."""
    entries = await client.run("XREVRANGE", keys.decisions, "+", "-", "COUNT", limit)
    return [_decision(fields) for _, fields in entries]


def _decision(fields: Mapping[bytes, bytes]) -> SlotDecision:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    return SlotDecision(
        text["slot"], text["version"] or None, text["previous"] or None, int(text["time_ms"]), text["reason"],
        text.get("who"),
    )  # fmt: skip

"""What the store knows of a user: read as it lies there, decoded only where somebody asks."""

import struct
from dataclasses import dataclass

from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS
from configs.event_types import EventTypes


@dataclass(frozen=True, slots=True)
class UserFeatures:
    """One user. The histories are decoded by `features.users.history`."""

    version: int
    """0: unknown user. Grows with every change and is never reused, so an equal version means equal features."""
    history: bytes | None
    older_seen: bytes | None
    fields: dict[bytes, bytes]

    def counters(self, types: EventTypes) -> dict[str, int]:
        """Events by type, all that were ever recorded."""
        return {
            name: int(self.fields[key]) for code, name in types.names.items() if (key := b"n%d" % code) in self.fields
        }

    def activity(self, at_ms: int) -> dict[str, float]:
        """Events decayed by half-lives of 1 h, 1 day and 7 days, as at a time."""
        packed = self.fields.get(b"act")
        return dict.fromkeys(ACTIVITY_HALF_LIVES_MS, 0.0) if packed is None else decayed_sums(packed, at_ms)

    def affinities(self, at_ms: int) -> dict[str, float]:
        """Category -> preference confidence decayed by a half-life of 7 days; refusals count below 0."""
        found = {}
        for field, packed in self.fields.items():
            if field.startswith(b"c:"):
                reference_ms, value = struct.unpack("<dd", packed)
                found[field[2:].decode()] = value * 2.0 ** ((reference_ms - at_ms) / AFFINITY_HALF_LIFE_MS)
        return found

    @property
    def first_ms(self) -> int | None:
        """Time of the earliest event."""
        return _whole(self.fields.get(b"first"))

    @property
    def last_ms(self) -> int | None:
        """Time of the latest event."""
        return _whole(self.fields.get(b"last"))

    @property
    def processed_ms(self) -> int | None:
        """When the store last changed these features: their freshness."""
        return _whole(self.fields.get(b"at"))


def decayed_sums(packed: bytes, at_ms: int) -> dict[str, float]:
    """The three decayed sums of a `act` or `pop` field, as at a time (which may lie before the latest event)."""
    reference_ms, *sums = struct.unpack("<dddd", packed)
    return {
        window: value * 2.0 ** ((reference_ms - at_ms) / half_life_ms)
        for (window, half_life_ms), value in zip(ACTIVITY_HALF_LIVES_MS.items(), sums, strict=True)
    }


def _whole(text: bytes | None) -> int | None:
    return None if text is None else int(text)

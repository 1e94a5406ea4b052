"""Which variant a user sees: a hash of the experiment's seed and the user's id, so that every replica agrees.

The hash is GrowthBook's version 2, the decimal text of fnv1a32(seed + user id) hashed by fnv1a32 once more, modulo
10,000 buckets; FNV-1a as Fowler, Noll and Vo published it, over the UTF-8 octets (GrowthBook's SDKs agree on ASCII; on
other text those that hash octets agree, the JavaScript one hashes UTF-16 units). Each variant's range of buckets starts
at the sum of the weights before it and is coverage * weight long. So a change of coverage lets users in or out, and
never moves one from a variant to another.

Experiments that must not share users take disjoint ranges of one namespace, which has a hash of its own: GrowthBook's
fnv1a32(user id + "__" + namespace) modulo 1,000.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

BUCKETS = 10_000
_NAMESPACE_BUCKETS = 1_000
_OFFSET_BASIS = 0x811C9DC5
_PRIME = 0x01000193
_WEIGHT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Namespace:
    """A share of the users of a mutually exclusive group: those whose namespace hash is in [start, end).

    Raises:
        ValueError: a range outside 0 to 1, or empty.
    """

    name: str
    start: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"give two numbers from 0 to 1, the smaller one first, not {self.start} and {self.end}")

    def overlaps(self, other: "Namespace") -> bool:
        """Whether the two would share users."""
        return self.name == other.name and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class TrafficSplit:
    """How an experiment divides its users.

    Attributes:
        seed: seeds the hash; another seed divides the users independently.
        variants: names, control first.
        weights: their shares of the experiment's users.
        coverage: share of all users in the experiment.
        namespace: the part of an exclusive group that this experiment owns.

    Raises:
        ValueError: fewer than two variants, a repeated name, weights that do not sum to 1 within 0.001, a coverage
            outside 0 to 1.
    """

    seed: str
    variants: tuple[str, ...]
    weights: tuple[float, ...]
    coverage: float = 1.0
    namespace: Namespace | None = None

    def __post_init__(self) -> None:
        if len(self.variants) < 2:
            raise ValueError("variants: an experiment needs at least two")
        if len(set(self.variants)) != len(self.variants):
            raise ValueError(f"variants: a name is repeated in {list(self.variants)}")
        if len(self.weights) != len(self.variants):
            raise ValueError(f"weights: {len(self.weights)} weights for {len(self.variants)} variants")
        if any(not math.isfinite(weight) or weight < 0 for weight in self.weights):
            raise ValueError(f"weights: each must be a number from 0, not {list(self.weights)}")
        if abs(sum(self.weights) - 1.0) > _WEIGHT_TOLERANCE:
            raise ValueError(f"variants: their weights sum to {sum(self.weights):.6g}, not 1")
        if not 0 <= self.coverage <= 1:
            raise ValueError(f"coverage: must be between 0 and 1, not {self.coverage!r}")

    @cached_property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """[start, end) of each variant, as shares of the buckets."""
        starts = [sum(self.weights[:place]) for place in range(len(self.weights))]
        return tuple(
            (start, start + self.coverage * weight) for start, weight in zip(starts, self.weights, strict=True)
        )

    @cached_property
    def seed_state(self) -> int:
        """The hash after the seed, so that a request hashes the user's id only."""
        return fnv1a32(self.seed.encode())


@dataclass(frozen=True)
class Assignment:
    """A user's place in an experiment.

    Attributes:
        variant: its name, None for a user who is not in the experiment.
        bucket: the user's bucket, 0 to 9,999.
        forced: chosen by hand for testing; such traffic is no evidence and must not be counted.
        held: the variant that the user already had, kept whatever the weights are now.
        reason: why the user is not in the experiment.
    """

    variant: str | None
    bucket: int
    forced: bool = False
    held: bool = False
    reason: str | None = None


def assign(traffic: TrafficSplit, user_id: str, held: str | None = None, force: str | None = None) -> Assignment:
    """The user's variant.

    Args:
        held: the variant in which the user was exposed before, where that is stored. It outlives changes of weights
            (a bandit's, for one) and of coverage; one that no longer exists is ignored.
        force: a variant to see regardless, marked in the answer.

    Raises:
        ValueError: `force` names no variant.
    """
    place = fnv1a32(str(fnv1a32(user_id.encode(), traffic.seed_state)).encode()) % BUCKETS
    if force is not None:
        if force not in traffic.variants:
            raise ValueError(f"force: no variant {force!r}; there are {list(traffic.variants)}")
        return Assignment(force, place, forced=True)
    if traffic.namespace is not None and not in_namespace(traffic.namespace, user_id):
        return Assignment(None, place, reason="outside the experiment's part of its exclusive group")
    if held is not None and held in traffic.variants:
        return Assignment(held, place, held=True)
    chosen = choose(place / BUCKETS, traffic.ranges)
    if chosen is None:
        return Assignment(None, place, reason="outside the experiment's coverage")
    return Assignment(traffic.variants[chosen], place)


def choose(share: float, ranges: Sequence[tuple[float, float]]) -> int | None:
    """The range that holds `share`, None where none does."""
    for place, (start, end) in enumerate(ranges):
        if start <= share < end:
            return place
    return None


def in_namespace(namespace: Namespace, user_id: str) -> bool:
    """Whether the user belongs to this part of the group."""
    share = fnv1a32(f"{user_id}__{namespace.name}".encode()) % _NAMESPACE_BUCKETS / _NAMESPACE_BUCKETS
    return namespace.start <= share < namespace.end


def bucket(seed: str, user_id: str) -> int:
    """0 to 9,999: GrowthBook's hash version 2."""
    return fnv1a32(str(fnv1a32((seed + user_id).encode())).encode()) % BUCKETS


def fnv1a32(octets: bytes, state: int = _OFFSET_BASIS) -> int:
    """32-bit FNV-1a; `state` continues a hash begun before."""
    for octet in octets:
        state = ((state ^ octet) * _PRIME) & 0xFFFFFFFF
    return state

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.assignment import BUCKETS, Namespace, TrafficSplit, assign, bucket, choose, fnv1a32, in_namespace

USER_IDS = st.text(min_size=1, max_size=20)


@st.composite
def weights(draw: st.DrawFn) -> tuple[float, ...]:
    parts = draw(st.lists(st.integers(1, 100), min_size=2, max_size=6))
    return tuple(part / sum(parts) for part in parts)


def traffic(shares: tuple[float, ...] = (0.5, 0.5), **other: Any) -> TrafficSplit:
    names = tuple(f"v{place}" for place in range(len(shares)))
    return TrafficSplit(**{"seed": "exp-1", "variants": names, "weights": shares} | other)


def test_published_vectors_of_fnv1a() -> None:
    # Test vectors of Fowler, Noll and Vo (draft-eastlake-fnv).
    assert fnv1a32(b"") == 0x811C9DC5
    assert fnv1a32(b"a") == 0xE40C292C
    assert fnv1a32(b"foobar") == 0xBF9CF968


def test_published_buckets(oracles: dict[str, Any]) -> None:
    for oracle in oracles["assignment_hash"]:
        assert bucket(oracle["seed"], oracle["value"]) / BUCKETS == oracle["expect"]
        both = traffic(seed=oracle["seed"])
        assert assign(both, oracle["value"]).bucket / BUCKETS == oracle["expect"]


@pytest.mark.parametrize(
    ("user", "namespace", "start", "end", "expected"),
    [
        # growthbook packages/sdk-js/test/cases.json, inNamespace
        ("1", "namespace1", 0, 0.4, False),
        ("1", "namespace1", 0.4, 1, True),
        ("2", "namespace2", 0, 0.4, False),
        ("3", "namespace1", 0.4, 1, True),
        ("3", "namespace2", 0, 0.4, True),
        ("3", "namespace2", 0.4, 1, False),
        ("4", "namespace2", 0, 0.4, True),
        ("4", "namespace1", 0, 0.4, False),
    ],
)
def test_published_namespaces(user: str, namespace: str, start: float, end: float, expected: bool) -> None:
    assert in_namespace(Namespace(namespace, start, end), user) is expected


@pytest.mark.parametrize(
    ("shares", "coverage", "expected"),
    [
        # growthbook packages/sdk-js/test/cases.json, getBucketRange
        ((0.5, 0.5), 1.0, [(0, 0.5), (0.5, 1)]),
        ((0.5, 0.5), 0.5, [(0, 0.25), (0.5, 0.75)]),
        ((0.5, 0.5), 0.0, [(0, 0), (0.5, 0.5)]),
        ((0.2, 0.3, 0.5), 0.2, [(0, 0.04), (0.2, 0.26), (0.5, 0.6)]),
        ((0.4, 0.5999), 1.0, [(0, 0.4), (0.4, 0.9999)]),
    ],
)
def test_published_ranges(shares: tuple[float, ...], coverage: float, expected: list[tuple[float, float]]) -> None:
    found = traffic(shares, coverage=coverage).ranges
    assert [end for pair in found for end in pair] == pytest.approx([end for pair in expected for end in pair])


@pytest.mark.parametrize(
    ("share", "ranges", "expected"),
    [
        # growthbook packages/sdk-js/test/cases.json, chooseVariation
        (0.0, [(0, 0.5), (0.5, 1)], 0),
        (0.5, [(0, 0.5), (0.5, 1)], 1),
        (0.25, [(0, 0.25), (0.5, 0.75)], None),
        (0.4, [(0, 0.25), (0.5, 0.75)], None),
        (0.5, [(0, 0.25), (0.5, 0.75)], 1),
        (0.5, [(0, 0.5), (0.5, 0.5), (0.5, 1)], 2),
    ],
)
def test_published_choices(share: float, ranges: list[tuple[float, float]], expected: int | None) -> None:
    assert choose(share, ranges) == expected


@settings(deadline=None)
@given(weights(), st.floats(0, 1))
def test_every_variant_has_its_share_of_the_buckets(shares: tuple[float, ...], coverage: float) -> None:
    ranges = traffic(shares, coverage=coverage).ranges
    counts = Counter(choose(place / BUCKETS, ranges) for place in range(0, BUCKETS, 7))
    for place, share in enumerate(shares):
        assert counts[place] / (BUCKETS / 7) == pytest.approx(coverage * share, abs=2 * 7 / BUCKETS)


def test_users_follow_weights_and_seeds_are_independent() -> None:
    first, second = traffic((0.2, 0.3, 0.5)), traffic((0.2, 0.3, 0.5), seed="exp-2")
    users = [f"user-{n}" for n in range(20_000)]
    pairs = Counter((assign(first, user).variant, assign(second, user).variant) for user in users)
    for a, share in zip(first.variants, first.weights, strict=True):
        for b, other in zip(second.variants, second.weights, strict=True):
            # Four standard deviations of a count of 20,000.
            expected = share * other
            assert abs(pairs[a, b] / 20_000 - expected) < 4 * (expected * (1 - expected) / 20_000) ** 0.5


@settings(deadline=None)
@given(USER_IDS, weights(), st.floats(0, 1), st.floats(0, 1))
def test_a_change_of_coverage_never_moves_a_user_between_variants(
    user: str, shares: tuple[float, ...], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    before = assign(traffic(shares, coverage=low), user).variant
    after = assign(traffic(shares, coverage=high), user).variant
    assert before is None or before == after


@settings(deadline=None)
@given(st.text(max_size=10), USER_IDS)
def test_the_bucket_is_that_of_seed_and_id_together(seed: str, user: str) -> None:
    assert assign(traffic(seed=seed), user).bucket == bucket(seed, user)


@settings(deadline=None)
@given(USER_IDS, st.lists(st.floats(0.001, 0.999), min_size=1, max_size=4, unique=True))
def test_parts_of_an_exclusive_group_share_no_user_and_lose_none(user: str, cuts: list[float]) -> None:
    ends = [0.0, *sorted(cuts), 1.0]
    parts = [Namespace("home", start, end) for start, end in pairwise(ends)]
    owners = [part for part in parts if assign(traffic(namespace=part), user).variant is not None]
    assert len(owners) == 1
    assert not any(a.overlaps(b) for a in parts for b in parts if a is not b)


def test_the_part_of_a_group_is_independent_of_the_variant() -> None:
    # Were both taken from one hash, the first half of the group would hold one variant only.
    half = traffic(namespace=Namespace("home", 0.0, 0.5))
    counts = Counter(assign(half, f"user-{n}").variant for n in range(10_000))
    assert counts[None] == pytest.approx(5_000, abs=200)
    assert counts["v0"] == pytest.approx(2_500, abs=180)


def test_a_held_variant_outlives_new_weights_and_coverage_but_not_its_removal() -> None:
    shifted = traffic((0.99, 0.01), coverage=0.5)
    users = [f"user-{n}" for n in range(200)]
    assert {assign(shifted, user, held="v1").variant for user in users} == {"v1"}
    assert assign(shifted, "user-1", held="v1").held
    assert all(assign(shifted, user, held="gone") == assign(shifted, user) for user in users)


def test_a_forced_variant_is_marked() -> None:
    nobody = traffic(coverage=0.0)
    assert assign(nobody, "u").variant is None
    assert assign(nobody, "u").reason == "outside the experiment's coverage"
    forced = assign(nobody, "u", force="v1")
    assert (forced.variant, forced.forced) == ("v1", True)
    with pytest.raises(ValueError, match="force: no variant 'v9'"):
        assign(nobody, "u", force="v9")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": (0.5, 0.4)}, "variants: their weights sum to 0.9, not 1"),
        ({"weights": (1.5, -0.5)}, "each must be a number from 0"),
        ({"weights": (float("nan"), 0.5)}, "each must be a number from 0"),
        ({"weights": (1.0,)}, "1 weights for 2 variants"),
        ({"variants": ("a", "a")}, "a name is repeated"),
        ({"variants": ("a",), "weights": (1.0,)}, "needs at least two"),
        ({"coverage": 1.1}, "coverage: must be between 0 and 1"),
    ],
)
def test_impossible_traffic_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrafficSplit(**{"seed": "exp-1", "variants": ("a", "b"), "weights": (0.5, 0.5)} | wrong)


def test_an_impossible_namespace_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the smaller one first, not 0\.6 and 0\.6"):
        Namespace("home", 0.6, 0.6)

"""Near counts against the definition written down once more, their bounds, and what is kept of them."""

from collections import defaultdict

import numpy as np
import pytest

from models.relations.near_counts import FEWEST_CELLS, LONGEST_ROW, REACH, UNIT, WINDOW_MS, NearCounts
from models.relations.near_lists import LATEST, NEAR_FEATURES, near_features, nearest
from models.relations.near_state import NearState

MINUTE = 60_000
Pairs = dict[tuple[int, int], int]


def sessions(n_events: int, n_users: int, n_items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events whose users come back to their items, some of them late."""
    generator = np.random.default_rng(seed)
    times_ms = np.cumsum(generator.integers(0, 20_000, n_events)) + 1_700_000_000_000
    late = generator.random(n_events) < 0.1
    times_ms = times_ms - np.where(late, generator.integers(0, 15 * MINUTE, n_events), 0)
    return generator.integers(0, n_users, n_events), generator.integers(0, n_items, n_events), times_ms


def defined(users: np.ndarray, items: np.ndarray, times_ms: np.ndarray) -> Pairs:
    """All pairs, event by event."""
    found: Pairs = defaultdict(int)
    latest: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for user, item, ms in zip(users.tolist(), items.tolist(), times_ms.tolist(), strict=True):
        mine = latest[user]
        again = [at for other, at in mine if other == item]
        if not again or abs(ms - again[0]) > WINDOW_MS:
            for back, (other, at) in enumerate(mine, 1):
                if other != item and abs(ms - at) <= WINDOW_MS:
                    weight = round(UNIT * 0.8**back)
                    found[other, item] += weight
                    found[item, other] += weight // 2
        elif again:
            ms = max(ms, again[0])
        latest[user] = [(item, ms), *((other, at) for other, at in mine if other != item)][:REACH]
    return found


def pairs(counts: NearCounts) -> Pairs:
    return {(row, other): count for row in range(counts.n_items) for other, count in counts.row(row).items()}


def taken(users: np.ndarray, items: np.ndarray, times_ms: np.ndarray, *cuts: int) -> NearCounts:
    counts = NearCounts(0, 0)
    for part in np.split(np.arange(len(users)), cuts):
        counts.take(users[part], items[part], times_ms[part])
    return counts


def test_pairs_are_those_of_the_definition_however_the_events_are_dealt() -> None:
    events = sessions(4000, 8, 40)
    whole = taken(*events)
    assert pairs(whole) == defined(*events)
    sums = np.zeros(40, np.int64)
    for (row, _), count in pairs(whole).items():
        sums[row] += count
    np.testing.assert_array_equal(whole.degrees[:40], sums)
    assert pairs(taken(*events, 1, 17, 2500)) == pairs(whole)
    # Partitions, each of which has some users' events in order, may come in any order.
    by_partition = np.argsort(events[0] % 3, kind="stable")
    assert pairs(taken(*(column[by_partition] for column in events))) == pairs(whole)


def test_to_and_fro_counts_once() -> None:
    items = np.tile([3, 5], 50)
    once = taken(np.zeros(2, np.int64), items[:2], np.array([0, 1000]))
    often = taken(np.zeros(100, np.int64), items, np.arange(100) * 1000)
    assert pairs(often) == pairs(once) == {(3, 5): 800, (5, 3): 400}
    apart = taken(np.zeros(2, np.int64), items[:2], np.array([0, WINDOW_MS + 1]))
    assert pairs(apart) == {}


def test_a_full_row_loses_its_weakest_pairs() -> None:
    others = np.arange(1, 3 * LONGEST_ROW)
    counts = NearCounts(0, 0)
    for round_ in range(4):  # each of the first hundred is met with item 0 in every round, the others once
        some = others[:100] if round_ else others
        users = np.repeat(np.arange(len(some)) + 10_000 * round_, 2)
        items = np.stack([np.zeros(len(some), np.int64), some], axis=1).ravel()
        counts.take(users, items, np.zeros(len(items), np.int64))
    row = counts.row(0)
    assert len(row) <= LONGEST_ROW
    assert all(row[item] >= 2400 for item in range(1, 101))


def test_the_cells_are_bounded_and_the_strongest_stay() -> None:
    n_items = 40_000
    generator = np.random.default_rng(1)
    strong = generator.permutation(n_items)[:200].reshape(-1, 2)
    counts = NearCounts(0, 0, FEWEST_CELLS)
    for round_ in range(12):
        weak = generator.integers(0, n_items, (8000 if round_ > 2 else 0, 2))
        each = np.concatenate([weak[weak[:, 0] != weak[:, 1]], strong])
        users = np.repeat(np.arange(len(each)) + 100_000 * (round_ % 2), 2)
        counts.take(users, each.ravel(), np.full(2 * len(each), round_ * 3_600_000))
    assert len(counts.cell_items) == FEWEST_CELLS
    assert counts.pairs <= FEWEST_CELLS
    assert counts.pairs > FEWEST_CELLS // 4
    assert all(counts.row(one).get(other, 0) >= 12 * 800 for one, other in strong.tolist())


def test_what_is_kept_goes_on_as_if_it_had_never_stopped() -> None:
    users, items, times_ms = sessions(4000, 6, 40)
    whole = taken(users, items, times_ms)
    first = taken(users[:2500], items[:2500], times_ms[:2500])
    state = NearState.of(first, {3: (17, 4)})
    state.check(40, 6)
    assert state.positions() == {3: (17, 4)}
    live = state.live()
    place = np.full(6, -1)
    place[state.users] = np.arange(len(state.users))
    live.take(place[users[2500:]], items[2500:], times_ms[2500:])
    assert pairs(live) == pairs(whole)
    smaller = state.live(FEWEST_CELLS)
    assert pairs(smaller) == pairs(first)


def test_a_damaged_state_is_refused() -> None:
    state = NearState.of(taken(*sessions(500, 6, 40)), {})
    for name, array in (("items", state.items + 40), ("counts", state.counts * 0), ("edges", state.edges + 1)):
        broken = NearState(**{**vars(state), name: array})
        with pytest.raises(ValueError, match="near_"):
            broken.check(40, 6)
    with pytest.raises(ValueError, match="near_latest is"):
        NearState(**{**vars(state), "latest": state.latest[:, 1:]}).check(40, 6)


def test_lists_and_features_are_what_the_formula_says() -> None:
    counts = taken(*sessions(4000, 8, 40))
    matrix = np.zeros((40, 40))
    for (row, other), count in pairs(counts).items():
        matrix[row, other] = count / UNIT
    degrees = counts.degrees[:40] / UNIT
    recent = np.array([7, 3, 12, 30])
    share = 0.8 ** np.arange(len(recent))
    cosines = matrix[recent] / np.sqrt(np.outer(degrees[recent] + 5, degrees + 5))
    shares = matrix[recent] / (degrees[recent, None] + 5)
    strengths = share @ cosines
    order = np.argsort(-strengths, kind="stable")
    np.testing.assert_array_equal(nearest(counts, recent), order[strengths[order] > 0])
    np.testing.assert_array_equal(nearest(counts, recent, 5), order[:5])
    padded = np.full((2, LATEST), -1)
    padded[0, : len(recent)] = recent
    candidates = np.array([[4, 39, -1, 7], [4, 39, -1, 7]])
    found = near_features(counts, padded, candidates)
    assert found.shape == (2, 4, len(NEAR_FEATURES))
    of = [4, 39, 7]
    expected = np.stack(
        [
            np.log1p(share @ matrix[recent][:, of]),
            strengths[of],
            cosines[:, of].max(axis=0),
            (share @ shares)[of],
            shares[0, of],
        ],
        axis=1,
    )
    np.testing.assert_allclose(found[0, [0, 1, 3]], expected, rtol=1e-5)
    assert np.isnan(found[1]).all(), "nothing is known without a history"

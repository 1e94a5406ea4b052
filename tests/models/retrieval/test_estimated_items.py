"""Which of very many unknown items have estimated factors: the latest, what is asked for, and of what is said now."""

import numpy as np
import pytest

from models.retrieval.new_items import NewItems

N_ITEMS, MOST = 5, 20


class World:
    """What is said of each item is a number, and that is its vector."""

    def __init__(self) -> None:
        self.said: dict[int, float] = {}
        self.added: dict[int, int] = {}
        self.asked = 0
        self.items = NewItems(N_ITEMS, 1, self._estimate, MOST)

    def _estimate(self, places: np.ndarray) -> np.ndarray:
        self.asked += len(places)
        return np.array([[self.said[place]] for place in places.tolist()], np.float32).reshape(-1, 1)

    def say(self, places: list[int], added: list[int], number: float) -> None:
        self.said |= dict.fromkeys(places, number)
        self.added |= dict(zip(places, added, strict=True))
        self.items.take(np.array(places, np.int64), np.array(added, np.int64))

    def work(self, most: int = 1000) -> set[int]:
        while self.items.behind:
            self.items.work(most)
        view = self.items.view(len(self.said))
        found = dict(zip(view.items.tolist(), view.factors[:, 0].tolist(), strict=True))
        assert len(found) == len(view.items) <= MOST
        assert found == {place: pytest.approx(self.said[place]) for place in found}
        rows = np.full(len(self.said), -1)
        rows[view.items - N_ITEMS] = np.arange(len(view.items))
        np.testing.assert_array_equal(view.rows, rows)
        return set(found)

    def latest(self, n: int, without: set[int]) -> set[int]:
        others = sorted(set(self.said) - without, key=lambda place: (self.added[place], place))
        return set(others[len(others) - n :])


@pytest.mark.parametrize("most", [1, 3, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_latest_have_factors_and_so_has_what_is_wanted(seed: int, most: int) -> None:
    generator, world = np.random.default_rng(seed), World()
    moments = generator.permutation(2000).tolist()
    for turn in range(40):
        first = N_ITEMS + len(world.said)
        new = list(range(first, first + int(generator.integers(0, 12))))
        old = generator.choice(sorted(world.said), 3, replace=False).tolist() if len(world.said) > 3 else []
        world.say([*new, *old], [*(moments.pop() for _ in new), *(world.added[place] for place in old)], turn + 1)
        wanted: set[int] = set()
        if world.said and turn % 3 == 0:
            wanted = set(generator.choice(sorted(world.said), min(6, len(world.said)), replace=False).tolist())
        world.items.want(np.array(sorted(wanted), np.int64))
        found = world.work(most)
        assert wanted <= found
        assert len(found) == min(MOST, len(world.said))
    world.items.want(np.empty(0, np.int64))
    late = [N_ITEMS + len(world.said) + n for n in range(MOST)]
    world.say(late, list(range(9000, 9000 + MOST)), 1)
    assert world.work(most) == set(late)
    assert len(world.said) > 4 * MOST


def test_a_large_import_estimates_no_more_than_are_kept() -> None:
    world = World()
    places = [N_ITEMS + n for n in range(5000)]
    for start in range(0, 5000, 500):
        world.say(places[start : start + 500], list(range(start, start + 500)), 1)
    assert world.work() == world.latest(MOST, set())
    assert world.asked == MOST


def test_earlier_items_do_not_displace_later_ones_but_one_that_is_asked_for_does() -> None:
    world = World()
    world.say([N_ITEMS + n for n in range(MOST)], list(range(100, 100 + MOST)), 1)
    world.work()
    world.say([N_ITEMS + MOST, N_ITEMS + MOST + 1], [1, 2], 2)
    assert not {N_ITEMS + MOST, N_ITEMS + MOST + 1} & world.work()
    world.items.ask(N_ITEMS + MOST)
    found = world.work()
    assert N_ITEMS + MOST in found
    assert N_ITEMS not in found  # the earliest of the others


def test_what_is_said_anew_counts_even_where_many_wait() -> None:
    world = World()
    world.say([5, 6], [1, 2], 1)
    world.work()
    world.say([5], [1], 7)
    done, gone = world.items.work(1)
    assert done.tolist() == [5]
    assert not len(gone)
    assert world.items.factors_of(np.array([5, 6])).ravel().tolist() == [7, 1]
    world.items.refresh([6])
    world.said[6] = 9
    world.work()

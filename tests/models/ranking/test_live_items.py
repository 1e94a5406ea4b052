"""The table that follows the catalogue item by item is the one that is made of the whole catalogue at once."""

import numpy as np
import pytest

from models.ranking.item_table import NO_CATEGORY, ItemStatistics, ItemTable, item_table
from models.ranking.live_items import LiveItems

N_ITEMS, N_FACTORS = 12, 4


def names_of(table: ItemTable) -> list[list[str]]:
    names = {column: name for name, column in table.category_columns.items()}
    return [[names[column] for column in row if column != NO_CATEGORY] for row in table.categories.tolist()]


@pytest.mark.parametrize("seed", range(4))
def test_following_the_catalogue_gives_the_table_of_the_whole(seed: int) -> None:
    generator = np.random.default_rng(seed)
    factors = generator.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    statistics = ItemStatistics(
        generator.integers(0, 9, N_ITEMS),
        generator.random(N_ITEMS).astype(np.float32),
        np.full(N_ITEMS, 1990, np.float32),
        generator.random(N_ITEMS),
    )
    live = LiveItems(factors, statistics)
    n, added = N_ITEMS, np.full(500, np.nan)
    categories: dict[int, tuple[str, ...]] = {}
    estimated: dict[int, np.ndarray] = {}
    for _ in range(40):
        n += int(generator.integers(0, 8))
        places = np.unique(generator.integers(0, n, 6)).tolist()
        chosen = [tuple(f"c{c}" for c in generator.permutation(15)[: generator.integers(0, 11)]) for _ in places]
        moments = generator.integers(1, 1000, len(places)).tolist()
        live.update(places, chosen, moments, n)
        categories |= dict(zip(places, chosen, strict=True))
        for place, moment in zip(places, moments, strict=True):
            added[place] = moment
        gone = [place for place in estimated if generator.random() < 0.2]
        fresh = np.unique(generator.integers(N_ITEMS, n, 3)) if n > N_ITEMS else np.empty(0, np.int64)
        fresh = np.setdiff1d(fresh, gone)
        vectors = generator.normal(size=(len(fresh), N_FACTORS)).astype(np.float32)
        live.take_factors(fresh, vectors, np.array(gone, np.int64))
        estimated = {place: vector for place, vector in estimated.items() if place not in gone}
        estimated |= dict(zip(fresh.tolist(), vectors, strict=True))
        extra = np.zeros((n - N_ITEMS, N_FACTORS), np.float32)
        for place, vector in estimated.items():
            extra[place - N_ITEMS] = vector
        members: dict[str, list[int]] = {}
        for place, mine in sorted(categories.items()):
            for name in mine:
                members.setdefault(name, []).append(place)
        of_all = {name: np.array(places) for name, places in members.items()}
        expected = item_table(factors, statistics, of_all, extra, added[N_ITEMS:n])
        found = live.table()
        np.testing.assert_array_equal(found.unit_factors, expected.unit_factors)
        np.testing.assert_array_equal(found.static, expected.static)
        np.testing.assert_array_equal(found.first_ms, expected.first_ms)
        assert names_of(found) == names_of(expected)
    assert n > 100

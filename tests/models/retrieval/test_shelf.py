"""The shelf follows the catalogue, item by item, in memory that grows with its items and not with its categories."""

import sys

import numpy as np

from models.retrieval.shelf import ShelfBuilder, ShelfItem

N_TRAINED, N_ALL = 60, 80


def builder_of(n: int) -> ShelfBuilder:
    return ShelfBuilder([b"%d" % place for place in range(n)], np.arange(n)[::-1], np.eye(n, 4, dtype=np.float32))


def test_categories_are_those_of_the_latest_change() -> None:
    generator = np.random.default_rng(0)
    builder = builder_of(N_TRAINED)
    now: dict[int, tuple[str, ...]] = {}
    for _ in range(40):
        before = builder.shelf()
        kept = {name: members.copy() for name, members in before.categories.items()}
        changed = generator.integers(0, N_ALL, 15).tolist()  # some of them twice
        names = [tuple(f"c{n}" for n in generator.integers(0, 12, generator.integers(0, 4))) for _ in changed]
        builder.update([ShelfItem(b"%d" % item, mine, True, 0) for item, mine in zip(changed, names, strict=True)])
        now |= dict(zip(changed, names, strict=True))
        place = {item: int(builder.places([b"%d" % item])[0]) for item in now}
        expected: dict[str, list[int]] = {}
        for item, mine in now.items():
            for name in set(mine):
                expected.setdefault(name, []).append(place[item])
        found = builder.shelf().categories
        assert {name: members.tolist() for name, members in found.items()} == {
            name: sorted(members) for name, members in expected.items()
        }
        # Whoever holds the view of before goes on seeing that one.
        assert all(np.array_equal(before.categories[name], members) for name, members in kept.items())
    assert len(now) > N_TRAINED


def test_many_categories_take_no_mask_each() -> None:
    n, many = 20_000, 5_000  # 100 MB as masks
    builder = builder_of(n)
    builder.update([ShelfItem(b"%d" % item, (f"c{item % many}", "all"), True, 0) for item in range(n)])
    categories = builder.shelf().categories
    assert len(categories) == many + 1
    assert sum(sys.getsizeof(members) for members in categories.values()) < 2_000_000

"""Keywords as the ranker reads them: what says nothing must not be learned by heart, what says something must help."""

import numpy as np
import pytest

from models.ranking.attributes import (
    NO_ATTRIBUTES,
    AttributeColumns,
    UsedAttributes,
    choose_attributes,
    user_values,
)
from models.ranking.features import FEATURES
from models.ranking.ranker import RankerParameters, fit_ranker

ITEMS, USERS, CANDIDATES = 2_000, 500, 50
SMALL = RankerParameters(trees=100, leaves=7)


class World:
    """Lists of candidates of which three are right, by two features and, where it counts, by the item's keyword."""

    def __init__(self, n_values: int, strength: float) -> None:
        generator = np.random.default_rng(5)
        item_keys, user_keys = generator.integers(0, n_values, ITEMS), generator.integers(0, n_values, USERS)
        self.strength, self.likes = strength, generator.normal(size=n_values)[item_keys]
        items, users = ([{"brand": f"b{key}"} for key in keys] for keys in (item_keys, user_keys))
        schema = {"brand": "keyword"}
        self.used: UsedAttributes = choose_attributes(schema, items, schema, users)  # type: ignore[arg-type]
        columns = AttributeColumns(self.used, ITEMS)
        columns.update(range(ITEMS), items, ITEMS)
        self.of_items, self.of_users = columns.table().values, user_values(self.used, users)

    def lists(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, CANDIDATES, features) and (n, CANDIDATES) what was right."""
        generator = np.random.default_rng(seed)
        items = generator.integers(0, ITEMS, (n, CANDIDATES))
        features = generator.normal(size=(n, CANDIDATES, len(FEATURES))).astype(np.float32)
        liked = 1.2 * features[:, :, 0] + 0.6 * features[:, :, 1] + self.strength * self.likes[items]
        order = np.argsort(-(liked + generator.gumbel(size=liked.shape)), axis=1)
        right = np.zeros(liked.shape)
        np.put_along_axis(right, order[:, :3], 1.0, axis=1)
        of_users = np.repeat(self.of_users[generator.integers(0, USERS, n)][:, None], CANDIDATES, axis=1)
        match = np.full((n, CANDIDATES, len(self.used.matched)), np.nan, np.float32)
        return np.concatenate([features, self.of_items[items], match, of_users], axis=2), right

    def ndcg(self, train: int, judged: int) -> tuple[np.ndarray, np.ndarray]:
        """NDCG@10 of each judged list, of a ranker that reads the keywords and of one that does not."""
        (features, right), (later, truth) = self.lists(train, 1), self.lists(judged, 2)
        found = []
        for used in (self.used, NO_ATTRIBUTES):
            width = len(FEATURES) + len(used.features)
            lengths = np.full(train, CANDIDATES)
            rows = features[:, :, :width].reshape(-1, width)
            ranker = fit_ranker(rows, right.ravel(), lengths, SMALL, seed=3, attributes=used)
            scores = ranker.score(later[:, :, :width].reshape(-1, width)).reshape(truth.shape)
            top = np.take_along_axis(truth, np.argsort(-scores, axis=1)[:, :10], axis=1)
            discounts = 1 / np.log2(np.arange(2, 12))
            found.append((top * discounts).sum(axis=1) / discounts[:3].sum())
        return found[0], found[1]


@pytest.mark.parametrize("n_values", [2_000, 90])
def test_a_random_keyword_costs_nothing(n_values: int) -> None:
    """Regression: zip codes, and any other keyword of many values, were learned by heart."""
    reading, plain = World(n_values, strength=0.0).ndcg(train=400, judged=2_500)
    difference = reading - plain
    assert difference.mean() + 3 * difference.std() / len(difference) ** 0.5 >= 0


def test_a_keyword_that_says_something_helps() -> None:
    reading, plain = World(10, strength=1.0).ndcg(train=400, judged=1_000)
    assert reading.mean() - plain.mean() > 0.03


def test_rare_values_have_no_number_and_are_matched_all_the_same() -> None:
    items = [{"brand": "large" if place < 300 else f"b{place}"} for place in range(1_000)]
    users = [{"zip": f"z{place}", "sex": "mf"[place % 2]} for place in range(300)]
    used = choose_attributes({"brand": "keyword"}, items, {"zip": "keyword", "sex": "keyword"}, users)  # type: ignore[arg-type]
    assert [(one.name, one.codes) for one in used.items] == [("brand", ("large",))]
    assert [one.name for one in used.users] == ["sex"]
    many = choose_attributes({"brand": "keyword"}, items[300:], {}, [])  # type: ignore[arg-type]
    assert (many.features, many.categorical) == (("item.brand.match",), ())

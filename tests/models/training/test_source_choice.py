"""Further sources of candidates on past requests, and which of them a training keeps."""

import numpy as np
import pandas as pd
import pytest

from configs.event_types import load_event_types
from models.factors.als import AlsParameters
from models.ranking.candidate_block import REPEATS
from models.ranking.ranker import RankerParameters
from models.relations.more_sources import NO_MORE, MoreSources
from models.training.first_stage import comes_again, find_candidates, fit_first_stage
from models.training.item_facts import ItemFacts
from models.training.past_requests import excluded_items, in_store_order
from models.training.ranker_judgement import train_second_stage
from models.training.ranker_lists import request_features
from models.training.ranker_windows import Recipe, early_stages, requests_after
from models.training.source_choice import choose_sources
from models.training.training_data import TrainingData, training_data_of

PARAMETERS = AlsParameters(factors=4, regularization=2.0, alpha=4.0, iterations=3)
RANKER = RankerParameters(trees=20, leaves=7, smallest_leaf=10)
N_ITEMS = 120
DAY_MS = 86_400_000


def baskets(preset: str = "groceries") -> TrainingData:
    """60 households, each with 4 staples of its own among 120 products, which it takes up again every few days beside
    something else: few factors know nothing of that, its own past everything."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(60):
        staples = generator.choice(N_ITEMS, 4, replace=False)
        for visit in range(40):
            item = generator.choice(staples) if generator.random() < 0.7 else generator.integers(N_ITEMS)
            rows.append((str(user), str(item), DAY_MS * (400 + 3 * visit) + int(generator.integers(DAY_MS))))
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp_ms"])
    frame = frame.assign(event_type="purchase", value=np.nan)
    return in_store_order(training_data_of(frame, load_event_types(preset), "t", ("int", "int"), 0, {}, "0" * 64))


def catalogue(data: TrainingData) -> ItemFacts:
    return ItemFacts(np.full(len(data.items), np.nan, np.float32), {})


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return baskets()


def test_further_sources_follow_and_nothing_comes_twice(data: TrainingData) -> None:
    stage = fit_first_stage(data, data.before(0.7), "preference", PARAMETERS, catalogue(data), 0, 1)
    requests = requests_after(stage, 0.7, 0.9, (0, 3))
    more = MoreSources(repeats=3, follows=4, neighbours=5)
    plain, found = find_candidates(stage, requests, 10, 5), find_candidates(stage, requests, 10, 5, more)
    np.testing.assert_array_equal(found.items[:, :15], plain.items)
    assert found.items.shape[1] == 15 + 12
    for row, scores in zip(found.items, found.scores, strict=True):
        listed = row[row >= 0]
        assert len(set(listed.tolist())) == len(listed)
        assert (np.isnan(scores) == (row < 0)).all()
    had = [set(data.item[rows].tolist()) for rows in requests.rows]
    alone = find_candidates(stage, requests, 10, 5, MoreSources(repeats=3)).items
    repeats = [set(row[row >= 0].tolist()) for row in alone[:, 15:]]
    assert all(some <= mine for some, mine in zip(repeats, had, strict=True))
    assert sum(map(len, repeats)) > len(requests)
    assert (found.items[:, 15:] >= 0).mean() > 0.7


def test_what_may_not_come_again_is_nobodys_candidate() -> None:
    data = baskets("movies")
    stage = fit_first_stage(data, data.before(0.7), "preference", PARAMETERS, catalogue(data), 0, 1)
    assert not stage.repeats
    requests = requests_after(stage, 0.7, 0.9, (0, 3))
    found = find_candidates(stage, requests, 10, 5, MoreSources(repeats=3, follows=20, neighbours=20))
    out = excluded_items(data, requests.rows, "preference").toarray()
    for row, listed in enumerate(found.items):
        assert not out[row, listed[listed >= 0]].any()
    alone = find_candidates(stage, requests, 10, 5, MoreSources(repeats=3)).items
    assert (alone[:, 15:] < 0).all()
    for _, features, _ in request_features(stage, requests, found):
        assert np.isnan(features[:, REPEATS]).all()


def test_repeats_are_told_where_there_are_some(data: TrainingData) -> None:
    assert comes_again(data)
    order = np.lexsort((data.turn, data.item, data.user))
    pairs = data.user[order] * N_ITEMS + data.item[order]
    once = order[np.flatnonzero(np.diff(pairs, prepend=-1))]
    assert not comes_again(data.rows(np.sort(once)))


def test_a_source_is_kept_where_the_lists_gain(data: TrainingData) -> None:
    recipe = Recipe("preference", PARAMETERS, 0.5, 5, 5)
    stages = list(early_stages(data, catalogue(data), recipe, 0.9, 0, 1))
    more, note = choose_sources(stages, recipe, RANKER, 0)
    assert more.repeats > 0
    assert note.startswith("repeats kept: NDCG@10 +")
    assert not more.related
    assert "follows and neighbours left out: NDCG@10" in note
    assert choose_sources(stages[:1], recipe, RANKER, 0) == (NO_MORE, "")


def test_a_training_uses_the_sources_that_it_keeps(data: TrainingData) -> None:
    recipe = Recipe("preference", PARAMETERS, 0.5, 5, 5)
    second = train_second_stage(data, catalogue(data), recipe, RANKER, 0, 1)
    assert second.ranker is not None
    assert second.ranker.more.repeats > 0
    assert second.sources_note.startswith("repeats kept")
    assert second.metrics["latest_ndcg_at_10"] > 2 * second.metrics["latest_plain_ndcg_at_10"]

"""Further sources of candidates on past requests, and which of them a training keeps."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from configs.decay import POPULARITY_HALF_LIVES_MS
from configs.event_types import Weighting, load_event_types
from models.factors.als import AlsParameters
from models.ranking.attributes import NO_ATTRIBUTES, Attributes
from models.ranking.features import FEATURES
from models.ranking.once_per_user import added_popularity
from models.ranking.point_in_time import DecayedPopularity
from models.ranking.ranker import RankerParameters
from models.relations.more_sources import NO_MORE, MoreSources
from models.retrieval.candidates import Source
from models.training.event_walks import popularity_walk
from models.training.first_stage import CandidateTable, comes_again, find_candidates, fit_first_stage
from models.training.item_facts import ItemFacts, known_attributes
from models.training.past_requests import Past, excluded_items, in_store_order
from models.training.ranker_judgement import train_second_stage
from models.training.ranker_lists import candidate_gains, request_features
from models.training.ranker_windows import Recipe, early_stages, requests_after
from models.training.source_choice import EarlyRequests, choose_sources, keep_attributes
from models.training.stage_histories import near_recent
from models.training.training_data import TrainingData, in_random_order, training_data_of

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
    assert found.sources is not None
    named = {source: found.sources[found.items >= 0] == source for source in Source}
    alone = find_candidates(stage, requests, 10, 5, MoreSources(repeats=3))
    assert named[Source.FOLD_IN].sum() == (plain.items[:, :10] >= 0).sum()
    assert named[Source.TRENDING].sum() == (plain.items[:, 10:] >= 0).sum()
    assert named[Source.REPEAT].sum() == (alone.items[:, 15:] >= 0).sum()
    assert named[Source.FOLLOWS].sum() > 3 * len(requests)
    assert named[Source.NEIGHBOUR].sum() > 3 * len(requests)


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
        assert np.isnan(features[:, FEATURES.index("repeat_count")]).all()


def test_repeats_are_told_where_there_are_some(data: TrainingData) -> None:
    assert comes_again(data)
    order = np.lexsort((data.turn, data.item, data.user))
    pairs = data.user[order] * N_ITEMS + data.item[order]
    once = order[np.flatnonzero(np.diff(pairs, prepend=-1))]
    assert not comes_again(data.rows(np.sort(once)))
    unordered = in_random_order(data, 0)
    assert comes_again(unordered)
    assert not comes_again(unordered.rows(np.sort(once)))


def test_a_source_is_kept_where_the_lists_gain(data: TrainingData) -> None:
    recipe = Recipe("preference", PARAMETERS, 0.5, 5, 5)
    stages = list(early_stages(data, catalogue(data), recipe, 0.9, 0, 1))
    more, note = choose_sources(EarlyRequests(stages, recipe), recipe, RANKER, 0)
    assert more.repeats > 0
    assert note.startswith("repeats kept: NDCG@10 +")
    assert not more.related
    assert "follows and neighbours left out: NDCG@10" in note
    assert choose_sources(EarlyRequests(stages[:1], recipe), recipe, RANKER, 0) == (NO_MORE, "")


def test_a_training_uses_the_sources_that_it_keeps(data: TrainingData) -> None:
    recipe = Recipe("preference", PARAMETERS, 0.5, 5, 5)
    second = train_second_stage(data, catalogue(data), recipe, RANKER, 0, 1)
    assert second.ranker is not None
    assert second.ranker.more.repeats > 0
    assert second.sources_note.startswith("repeats kept")
    assert second.metrics["latest_ndcg_at_10"] > 2 * second.metrics["latest_plain_ndcg_at_10"]


@pytest.mark.parametrize("until", [0.8, 1.0])
def test_what_events_add_to_popularity_is_found_once_and_is_that_of_the_window(until: float) -> None:
    data = baskets()
    stage = fit_first_stage(data, data.before(0.7), "preference", PARAMETERS, catalogue(data), 0, 1)
    requests = requests_after(stage, 0.7, until, (0, 3))
    rows = requests.popularity_rows
    weights = data.types.confidence(data.codes[rows], data.values[rows], "preference")
    half_lives = np.array(POPULARITY_HALF_LIVES_MS, np.float64)
    given = data.user[rows], data.item[rows], data.times_ms[rows], weights, half_lives, stage.history_limit
    alone = DecayedPopularity(data.item[rows], data.times_ms[rows], added_popularity(*given), N_ITEMS)
    found = popularity_walk(stage, requests)
    for walk in (alone, found):
        walk.advance(len(rows))
    np.testing.assert_array_equal(found.shares(), alone.shares())
    kept = dict(data.added)
    assert len(kept) == len(POPULARITY_HALF_LIVES_MS)
    popularity_walk(stage, requests_after(stage, 0.8, 0.9, (0,)))
    assert all(data.added[key] is added for key, added in kept.items())
    assert len(data.added) == len(kept)


def themes(trusted: bool = True) -> TrainingData:
    """Every half day another theme of four items is taken up by whoever is there, which no earlier event tells of."""
    generator = np.random.default_rng(1)
    rows = []
    for day in range(120):
        theme = generator.choice(N_ITEMS, 4, replace=False)
        for visit in range(8):
            user, at_ms = generator.integers(60), DAY_MS * (400 + day) + visit * 3_600_000
            for place, item in enumerate(generator.permutation(theme).tolist()):
                rows.append((str(user), str(item), at_ms + 60_000 * place))
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp_ms"])
    frame = frame.assign(event_type="purchase", value=np.nan)
    data = training_data_of(frame, load_event_types("groceries"), "t", ("int", "int"), 0, {}, "0" * 64)
    return in_store_order(replace(data, time_trusted=trusted))


def test_what_is_taken_up_together_now_is_kept_where_the_times_can_be_trusted() -> None:
    recipe = Recipe("preference", PARAMETERS, 0.5, 5, 0)
    data = themes()
    stages = list(early_stages(data, catalogue(data), recipe, 0.9, 0, 1))
    more, note = choose_sources(EarlyRequests(stages, recipe), recipe, RANKER, 0)
    assert more.near > 0
    assert "near kept: NDCG@10 +" in note
    data = themes(trusted=False)
    stages = list(early_stages(data, catalogue(data), recipe, 0.9, 0, 1))
    more, note = choose_sources(EarlyRequests(stages, recipe), recipe, RANKER, 0)
    assert not more.near
    assert note.endswith("near: the times say nothing of what was taken up together")


def test_a_walk_from_what_the_stage_knows_is_the_walk_from_the_start(data: TrainingData) -> None:
    stage = fit_first_stage(data, data.before(0.7), "preference", PARAMETERS, catalogue(data), 0, 1)
    requests = requests_after(stage, 0.7, 0.9, (0, 3))
    more = MoreSources(near=20)
    quick, slow = (find_candidates(one, requests, 10, 5, more) for one in (stage, replace(stage, trained_on=None)))
    np.testing.assert_array_equal(quick.items, slow.items)
    blocks = [
        np.concatenate([block for _, block, _ in request_features(one, requests, found)])
        for one, found in ((stage, quick), (replace(stage, trained_on=None), slow))
    ]
    np.testing.assert_array_equal(*blocks)
    assert (~np.isnan(blocks[0][:, FEATURES.index("live_log_count")])).all()
    plain = find_candidates(stage, requests, 10, 5)
    [*without] = request_features(stage, requests, plain)
    assert all(np.isnan(block[:, FEATURES.index("live_log_count")]).all() for _, block, _ in without), (
        "nothing is told where it is left out"
    )


@pytest.mark.parametrize("telling", [True, False])
def test_attributes_stay_where_lists_gain_for_sure(telling: bool) -> None:
    """Most of what a user takes up is of one maker of 40, which few factors and few others know; or makers are drawn by
    chance."""
    generator = np.random.default_rng(0)
    maker = np.arange(400) % 40
    rows = []
    for user in range(60):
        own = generator.permutation(np.flatnonzero(maker == user % 40))
        others = generator.permutation(400)[:15]
        times = np.sort(DAY_MS * 400 + generator.integers(0, 100 * DAY_MS, 25))
        rows += [
            (str(user), str(item), int(at_ms))
            for item, at_ms in zip(generator.permutation(np.concatenate([own, others])), times, strict=True)
        ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp_ms"])
    frame = frame.drop_duplicates(["user_id", "item_id"]).assign(event_type="like", value=np.nan)
    data = training_data_of(frame, load_event_types("movies"), "t", ("int", "int"), 0, {}, "0" * 64)
    data = in_store_order(data)
    shown = maker if telling else generator.permutation(maker)
    attributes: dict[str, Attributes] = {str(item): {"maker": [f"m{one}"]} for item, one in enumerate(shown.tolist())}
    known = known_attributes(data.items, attributes, {"maker": "keywords"}, data.users, {}, {})
    facts = replace(catalogue(data), attributes=known)
    recipe = Recipe("preference", PARAMETERS, 0.5, 200, 0)
    early = EarlyRequests(list(early_stages(data, facts, recipe, 0.9, 0, 1)), recipe)
    used, note = keep_attributes(early, recipe, RANKER, 0, facts.used)
    assert used == (facts.used if telling else NO_ATTRIBUTES)
    number = r"[+-]\d\.\d{4}"
    measured = rf"NDCG@10 {number} \[{number}, {number}\] in windows before the latest with maker of items"
    assert re.fullmatch(measured if telling else f"none is used: {measured}", note), note
    assert keep_attributes(early, recipe, RANKER, 0, NO_ATTRIBUTES) == (NO_ATTRIBUTES, "")


@pytest.mark.parametrize("weighting", ["preference", "consumption"])
def test_near_relations_count_what_was_taken_up_liked_or_not(weighting: Weighting) -> None:
    rows = [(user, item, 60_000 * place) for user in ("u", "v") for place, item in enumerate(("a", "b", "c"))]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp_ms"])
    frame = frame.assign(event_type="rating", value=np.where(frame["item_id"] == "b", 1.0, 5.0))
    data = in_store_order(training_data_of(frame, load_event_types("movies"), "t", ("str", "str"), 0, {}, "0" * 64))
    stage = fit_first_stage(data, np.arange(len(data)), weighting, PARAMETERS, catalogue(data), 0, 1)
    requests = Past(data).requests(np.array([0]), np.array([len(data)]), np.array([1e6]))
    liked, refused, last = data.items.encode(["a", "b", "c"]).tolist()
    assert near_recent(stage, requests)[0, :4].tolist() == [last, refused, liked, -1]
    assert set(stage.near.walk(requests).advance(len(data)).row(refused)) == {liked, last}


def test_a_new_item_is_right_where_a_source_can_give_it() -> None:
    data = themes()
    late = data.turn >= round(0.7 * len(data))
    item = np.where(late & (data.item == 7), 5, data.item)
    item = np.where(~late & (data.item == 7), 6, item).astype(np.int32)
    item[np.flatnonzero(late)[::9]] = 7
    data = replace(data, item=item)
    stage = fit_first_stage(data, data.before(0.7), "preference", PARAMETERS, catalogue(data), 0, 1)
    assert not stage.in_model[7]
    known, every = (requests_after(stage, 0.7, 0.8, None, new=new) for new in (False, True))
    assert not known.relevant[:, 7].nnz
    assert every.relevant[:, 7].nnz > 0
    found = find_candidates(stage, every, 10, 0, MoreSources(near=20)).items
    assert (candidate_gains(CandidateTable(found, found), every)[found == 7] > 0).any()

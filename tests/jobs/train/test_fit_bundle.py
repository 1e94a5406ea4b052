from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.settings import Settings
from data.dataset import DataError
from data.fields.attributes import AttributeType
from features.users.erasure import Erasures
from jobs.train.fit_bundle import evaluate_latest, fit_bundle, remove_old_bundles
from jobs.train.load_data import load_training_data
from models.bundle.reading import load_bundle
from models.content.description import Description
from models.factors.als import AlsParameters
from models.ranking.ranker import RankerParameters
from models.retrieval.candidates import CandidateModel
from models.retrieval.query import Query
from models.retrieval.shelf import ShelfBuilder
from models.training.item_facts import descriptions_of, frame_facts
from models.training.past_requests import in_store_order
from models.training.ranker_windows import LATEST, Recipe, learn, lists_before
from models.training.training_data import TrainingData
from tests.jobs.job_data import two_tastes, write_interactions

PARAMETERS = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)


@pytest.fixture
def data(settings: Settings) -> TrainingData:
    return load_training_data(settings, Erasures({}))


def test_the_bundle_holds_the_fit_on_all_the_data(settings: Settings, data: TrainingData) -> None:
    bundle = load_bundle(fit_bundle(data, settings, PARAMETERS, 1, {"ndcg_at_10": 0.5}))
    assert bundle.item_ids.tolist() == data.items.ids.tolist()
    assert bundle.manifest.data.n_interactions == len(data)
    assert bundle.manifest.data.last_ms == int(data.times_ms.max())
    liked = data.item[data.values == 5.0]
    np.testing.assert_array_equal(bundle.item_counts, np.bincount(liked, minlength=len(data.items)))
    item = data.item[-1]
    assert bundle.item_last_ms[item] == data.times_ms[-1]
    np.testing.assert_allclose(bundle.mean_user, bundle.user_factors.mean(axis=0), atol=1e-6)
    assert bundle.manifest.metrics == {"ndcg_at_10": 0.5}


def test_the_same_data_and_seed_give_the_same_content(settings: Settings, data: TrainingData) -> None:
    one, two, other = (
        load_bundle(fit_bundle(data, settings, PARAMETERS, seed, {})).manifest.content_hash for seed in (1, 1, 2)
    )
    assert one == two != other


def test_the_same_content_on_one_and_on_two_threads_with_a_ranker(settings: Settings) -> None:
    write_interactions(settings, two_tastes(n_users=120, n_items=60, per_user=25))
    data = in_store_order(load_training_data(settings, Erasures({})))
    catalogue = frame_facts(data.items, None)
    recipe = Recipe("preference", PARAMETERS, 0.5, 40, 10)
    ranker = RankerParameters(trees=20, leaves=7, smallest_leaf=20)
    made = []
    for threads in (1, 2):
        training = settings.training.model_copy(update={"threads": threads})
        fitted = learn(lists_before(data, catalogue, recipe, LATEST, 1, threads), ranker, 1, threads)
        assert fitted is not None
        changed = settings.model_copy(update={"training": training})
        made.append(load_bundle(fit_bundle(data, changed, PARAMETERS, 1, {}, fitted, catalogue)))
    one, two = made
    assert one.ranking is not None
    assert one.ranking.ranker.text.count("Tree=") == 20
    assert one.manifest.content_hash == two.manifest.content_hash
    assert one.manifest.files["ranker.txt"] == two.manifest.files["ranker.txt"]


def test_what_is_written_of_items_gives_new_ones_their_vectors(settings: Settings) -> None:
    """The taste of an item stands in a keyword of it, a list of its own, a number and its title."""
    write_interactions(settings, two_tastes(n_users=120, n_items=160, per_user=25))
    data = load_training_data(settings, Erasures({}))

    def described(number: int) -> Description:
        maker = "odd" if number % 2 else "even"
        return Description(f"An {maker} thing", attributes={"maker": maker, "tags": [maker], "parity": number % 2})

    schema: dict[str, AttributeType] = {"maker": "keyword", "tags": "keywords", "parity": "number"}
    written = ((item, described(int(item))) for item in data.items.ids.tolist())
    catalogue = replace(frame_facts(data.items, None), described=descriptions_of(data.items, written, schema))
    notes: list[str] = []
    one, two = (
        load_bundle(fit_bundle(data, settings, PARAMETERS, 1, {"mine": 1.0}, None, catalogue, notes.append))
        for _ in range(2)
    )
    assert one.manifest.content_hash == two.manifest.content_hash
    assert one.content is not None
    even, odd = one.content.factors([described(1000), described(1001)])
    own = one.item_factors @ np.stack([even, odd], axis=1)
    parity = np.array([int(item) % 2 for item in one.item_ids])
    assert (own[parity == 0, 0] > own[parity == 0, 1]).all()
    assert (own[parity == 1, 1] > own[parity == 1, 0]).all()
    assert one.manifest.metrics["mine"] == 1.0
    shown = one.manifest.metrics["new_items_content_recall_at_50"]
    assert shown > one.manifest.metrics["new_items_category_recall_at_50"]
    assert notes[0].startswith(f"new items: by what is written of them; recall@50 {shown:.4f}")
    without = settings.model_copy(update={"training": settings.training.model_copy(update={"content": False})})
    plain = load_bundle(fit_bundle(data, without, PARAMETERS, 1, {}, None, catalogue))
    assert plain.content is None
    assert plain.manifest.metrics == {}


def test_items_that_have_just_come_keep_what_is_written_of_them(settings: Settings) -> None:
    """One has been taken up by two users since yesterday, one was only refused; an old one of as few users stays as it
    was learned."""
    frame = two_tastes(n_users=120, n_items=160, per_user=25)
    late = int(frame["timestamp_ms"].max()) + 1000
    rows = [("0", "500", "rating", 5.0, late), ("2", "500", "rating", 5.0, late + 1), ("1", "502", "rating", 1.0, late)]
    rows += [("0", "504", "rating", 5.0, 1000), ("2", "504", "rating", 5.0, 1000)]
    frame = pd.concat([frame, pd.DataFrame(rows, columns=frame.columns)], ignore_index=True)
    write_interactions(settings, frame)
    data = load_training_data(settings, Erasures({}))
    makers = {item: "odd" if int(item) % 2 else "even" for item in data.items.ids.astype(str).tolist()}
    written = [(item, Description("A thing", attributes={"maker": maker})) for item, maker in makers.items()]
    described = descriptions_of(data.items, written, {"maker": "keyword"})
    catalogue = replace(frame_facts(data.items, None), described=described)
    without = settings.model_copy(update={"training": settings.training.model_copy(update={"content": False})})
    one, plain = (
        load_bundle(fit_bundle(data, chosen, PARAMETERS, 1, {}, None, catalogue)) for chosen in (settings, without)
    )
    assert one.content is not None
    (even,) = one.content.factors([Description("A thing", attributes={"maker": "even"})])
    young, refused, old = data.items.encode(["500", "502", "504"]).tolist()
    np.testing.assert_allclose(one.item_factors[young], plain.item_factors[young] + even, atol=1e-6)
    np.testing.assert_allclose(one.item_factors[refused], even, atol=1e-6)
    np.testing.assert_array_equal(one.item_factors[old], plain.item_factors[old])
    others = np.setdiff1d(np.arange(len(data.items)), [young, refused])
    np.testing.assert_array_equal(one.item_factors[others], plain.item_factors[others])
    # Somebody of that taste finds both at once.
    model = CandidateModel(one, 0.5)
    shelf = ShelfBuilder([item.encode() for item in one.item_ids], one.item_counts, one.item_factors).shelf()
    likes = data.items.encode(["2", "4", "6"])
    (found,) = model.retrieve([Query(likes, np.ones(3, np.float32), likes, 40)], shelf)
    assert {young, refused} <= set(found.items.tolist())


def test_nothing_liked_is_nothing_to_learn(settings: Settings) -> None:
    write_interactions(settings, two_tastes().assign(value=1.0))
    with pytest.raises(DataError, match="no event speaks for any item"):
        fit_bundle(load_training_data(settings, Erasures({})), settings, PARAMETERS, 1, {})


def test_the_latest_tenth_is_judged_by_a_model_that_has_not_seen_it(settings: Settings, data: TrainingData) -> None:
    metrics = evaluate_latest(data, settings, PARAMETERS, 1)
    assert metrics["ndcg_at_10"] < 1.0
    assert metrics["ndcg_at_10"] > metrics["popularity_ndcg_at_10"]


def test_old_bundles_go_but_not_those_in_use(tmp_path: Path) -> None:
    names = [f"2026010{day}-000000-0000000{day}" for day in range(1, 7)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    assert remove_old_bundles(tmp_path, 2, {names[1]}) == [names[0], names[2], names[3]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[1], names[4], names[5]]

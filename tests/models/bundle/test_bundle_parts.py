"""What a bundle may hold beside the factors: content, a ranker, relations; and bundles of the version before."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.fields.attributes import AttributeType
from models.bundle.arrays import MANIFEST, MANIFEST_SUM, BundleError, content_hash
from models.bundle.manifest import ContentFacts, RankerFacts
from models.bundle.reading import load_bundle, read_ranker
from models.bundle.writing import write_bundle
from models.content.content_map import ContentMap
from models.content.description import Description
from models.content.fitting import fit_inputs
from models.ranking.attributes import Attributes, choose_attributes, user_values
from models.ranking.features import EARLIER_FEATURES, FEATURES, FEATURES_HASH
from models.ranking.item_relations import ItemRelations
from models.ranking.item_table import ItemStatistics
from models.ranking.ranker import Ranker, RankerParameters, fit_ranker
from models.ranking.ranking_parts import RankingParts
from models.relations.more_sources import NO_MORE
from models.relations.near_counts import NearCounts
from models.relations.near_state import NearState
from models.relations.top_k import TopK
from tests.models.bundle.small_bundle import NOW_MS, PARAMETERS, contents, fields, with_content, with_ranker


def test_content_travels_with_the_bundle(tmp_path: Path) -> None:
    given, facts = with_content(contents(), fields())
    path = write_bundle(tmp_path, given, facts, NOW_MS)
    loaded = load_bundle(path)
    assert loaded.content is not None
    assert given.content is not None
    new = [Description("A thing", 1993, ("War",), {"maker": "ACME", "price": 1.0}), Description("Nothing known")]
    np.testing.assert_array_equal(loaded.content.factors(new), given.content.factors(new))
    assert loaded.manifest.content_hash != content_hash(contents(), fields())


def test_content_that_knows_no_word_and_no_keyword_is_read_too(tmp_path: Path) -> None:
    inputs = fit_inputs([Description("", 1990), Description("", 1991)], (), 1.0)
    given = replace(contents(), content=ContentMap(inputs, np.ones((inputs.width, PARAMETERS.factors), np.float32)))
    loaded = load_bundle(write_bundle(tmp_path, given, fields(content=ContentFacts(fields=())), NOW_MS))
    assert loaded.content is not None
    assert loaded.content.factors([Description("", 1990)]).any()


def test_content_and_its_facts_go_together(tmp_path: Path) -> None:
    given, facts = with_content(contents(), fields())
    with pytest.raises(BundleError, match="content needs its facts"):
        load_bundle(write_bundle(tmp_path / "a", given, fields(), NOW_MS))
    with pytest.raises(BundleError, match="content needs its facts"):
        load_bundle(write_bundle(tmp_path / "b", contents(), facts, NOW_MS))
    fewer = facts.model_copy(update={"content": ContentFacts(fields=())})
    with pytest.raises(BundleError, match=r"content\.means is float64 \(2,\), expected float64 \(1,\)"):
        load_bundle(write_bundle(tmp_path / "c", given, fewer, NOW_MS))


def test_a_ranker_travels_with_the_bundle(tmp_path: Path) -> None:
    given, facts = with_ranker()
    loaded = load_bundle(write_bundle(tmp_path, given, facts, NOW_MS))
    assert loaded.ranking is not None
    assert given.ranking is not None
    features = np.random.default_rng(1).normal(size=(9, len(FEATURES))).astype(np.float32)
    np.testing.assert_array_equal(loaded.ranking.ranker.score(features), given.ranking.ranker.score(features))
    np.testing.assert_array_equal(loaded.ranking.statistics.value_mean, given.ranking.statistics.value_mean)
    assert loaded.ranking.relations is not None
    assert loaded.ranking.relations.follows[3, 4] == 2
    assert loaded.manifest.content_hash != content_hash(contents(), fields())


def test_a_ranker_of_other_features_is_refused(tmp_path: Path) -> None:
    given, facts = with_ranker()
    assert facts.ranker is not None
    other = facts.model_copy(update={"ranker": facts.ranker.model_copy(update={"features_hash": "0" * 16})})
    path = write_bundle(tmp_path, given, other, NOW_MS)
    with pytest.raises(BundleError, match=r"ranker\.txt: it was trained on features 0000"):
        load_bundle(path)


@pytest.mark.parametrize("earlier", EARLIER_FEATURES)
def test_a_bundle_of_the_version_before_serves_on(tmp_path: Path, earlier: str) -> None:
    """Its ranker knows fewer features, its relations are matrices alone, and its manifest names no further sources."""
    import lightgbm

    given, facts = with_ranker()
    assert given.ranking is not None
    assert facts.ranker is not None
    names = EARLIER_FEATURES[earlier]
    features = np.random.default_rng(0).normal(size=(200, len(names))).astype(np.float32)
    grown = lightgbm.train(
        {"verbosity": -1, "min_data_in_leaf": 5},
        lightgbm.Dataset(features, features[:, 0].copy(), feature_name=list(names)),
        5,
    )
    ranker = Ranker(grown.model_to_string(), features_hash=earlier)
    old = facts.model_copy(update={"ranker": facts.ranker.model_copy(update={"features_hash": earlier})})
    path = write_bundle(tmp_path, replace(given, ranking=replace(given.ranking, ranker=ranker)), old, NOW_MS)
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["ranker"]["more"]
    text = json.dumps(manifest)
    (path / MANIFEST).write_text(text)
    (path / MANIFEST_SUM).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST}\n")
    loaded = load_bundle(path)
    assert loaded.ranking is not None
    assert loaded.manifest.ranker is not None
    assert loaded.manifest.ranker.more == NO_MORE
    assert loaded.ranking.relations is not None
    assert loaded.ranking.relations.together is None
    assert "repeat_count" in names or not loaded.ranking.reads_repeats
    assert loaded.ranking.near is None
    alone = read_ranker(path)
    assert alone is not None
    wide = np.full((200, len(FEATURES)), np.nan, np.float32)
    wide[:, [FEATURES.index(name) for name in names]] = features
    np.testing.assert_allclose(alone.score(wide), grown.predict(features), rtol=1e-5)


def test_tables_of_relations_travel_with_the_ranker(tmp_path: Path) -> None:
    given, facts = with_ranker()
    assert given.ranking is not None
    table = TopK(np.arange(21), np.arange(20, dtype=np.int32)[::-1].copy(), np.ones(20, np.float32))
    relations = ItemRelations(None, None, table, table, table)
    path = write_bundle(tmp_path, replace(given, ranking=replace(given.ranking, relations=relations)), facts, NOW_MS)
    loaded = load_bundle(path).ranking
    assert loaded is not None
    assert loaded.relations is not None
    assert loaded.relations.ease is None
    for name in ("together", "following", "neighbours"):
        found = getattr(loaded.relations, name)
        assert found.items.tolist() == table.items.tolist()
    other = replace(relations, following=replace(table, items=table.items + 1))
    with pytest.raises(BundleError, match="following_items must be positions of 20 items"):
        write_bundle(tmp_path, replace(given, ranking=replace(given.ranking, relations=other)), facts, NOW_MS)


def test_a_ranker_without_its_facts_is_refused(tmp_path: Path) -> None:
    given, _ = with_ranker()
    path = write_bundle(tmp_path, given, fields(), NOW_MS)
    with pytest.raises(BundleError, match="a ranker needs"):
        load_bundle(path)


def test_relations_must_fit_the_items(tmp_path: Path) -> None:
    given, facts = with_ranker()
    assert given.ranking is not None
    small = ItemRelations(np.ones((19, 19), np.float32), np.ones((19, 19), np.float32))
    with pytest.raises(BundleError, match="ease must be finite float32"):
        write_bundle(tmp_path, replace(given, ranking=replace(given.ranking, relations=small)), facts, NOW_MS)


def test_a_ranker_that_reads_attributes_comes_back_with_them(tmp_path: Path) -> None:
    schema: dict[str, AttributeType] = {"brand": "keyword", "price": "number", "since": "time", "tags": "keywords"}
    described: list[Attributes] = [{"brand": f"b{n}", "price": n, "since": n, "tags": [f"t{n}"]} for n in range(3)]
    used = choose_attributes(schema, described, {"age": "number"}, [{"age": 1}, {"age": 2}])
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, len(FEATURES) + len(used.features))).astype(np.float32)
    features[:, len(FEATURES)] = generator.integers(0, 4, 200)
    gains = (features[:, 0] + (features[:, len(FEATURES)] == 2) > 0.5).astype(np.float32)
    parameters = RankerParameters(trees=5, smallest_leaf=5)
    ranker = fit_ranker(features, gains, np.full(20, 10), parameters, seed=0, attributes=used)
    plain = contents()
    n_items, n_users = len(plain.item_ids), len(plain.user_ids)
    statistics = ItemStatistics(np.ones(n_items, np.int64), *np.ones((2, n_items), np.float32), np.zeros(n_items))
    values = user_values(used, [{"age": n} for n in range(n_users)])
    given = replace(plain, ranking=RankingParts(ranker, statistics, None, used, values))
    facts = RankerFacts(
        features_hash=FEATURES_HASH,
        attribute_features=used.features,
        parameters=parameters,
        lists=10,
        candidates=100,
        trending=50,
    )
    path = write_bundle(tmp_path, given, fields(ranker=facts), NOW_MS)
    found = load_bundle(path).ranking
    assert found is not None
    assert found.attributes == used
    assert found.ranker.features == (*FEATURES, *used.features)
    np.testing.assert_array_equal(found.user_values, values)
    np.testing.assert_array_equal(found.ranker.score(features), ranker.score(features))
    alone = read_ranker(path)
    assert alone is not None
    np.testing.assert_array_equal(alone.score(features), ranker.score(features))
    # A manifest that names none of them is not taken for one of a ranker without attributes.
    other = facts.model_copy(update={"attribute_features": ()})
    path = write_bundle(tmp_path / "other", given, fields(ranker=other), NOW_MS)
    with pytest.raises(BundleError, match="features, expected"):
        load_bundle(path)


def test_a_bundle_of_the_version_before_is_of_the_window_that_it_had() -> None:
    facts = RankerFacts(
        features_hash=FEATURES_HASH,
        parameters=RankerParameters(),
        lists=1,
        candidates=1,
        trending=1,
        trending_window="1h",
    )
    assert RankerFacts.model_validate_json(facts.model_dump_json()) == facts
    before = facts.model_dump(exclude={"trending_window"})
    assert RankerFacts.model_validate(before).trending_window == "7d"


def test_near_counts_travel_with_the_ranker_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    given, facts = with_ranker()
    assert given.ranking is not None
    counts = NearCounts(len(given.item_ids), 2)
    counts.take(np.array([0, 0, 1, 1]), np.array([3, 4, 5, 3]), np.array([0, 1000, 5000, 9000]))
    state = NearState.of(counts, {2: (17, 0)})
    path = write_bundle(tmp_path, replace(given, ranking=replace(given.ranking, near=state)), facts, NOW_MS)
    loaded = load_bundle(path).ranking
    assert loaded is not None
    assert loaded.near is not None
    for name, array in vars(state).items():
        np.testing.assert_array_equal(getattr(loaded.near, name), array)
    broken = replace(state, items=state.items + len(given.item_ids))
    with pytest.raises(BundleError, match="near_items"):
        write_bundle(tmp_path, replace(given, ranking=replace(given.ranking, near=broken)), facts, NOW_MS)

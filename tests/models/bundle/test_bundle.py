import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from pydantic import ValidationError

from data.fields.attributes import AttributeType
from models.bundle.arrays import MANIFEST, MANIFEST_SUM, BundleContents, BundleError, content_hash
from models.bundle.manifest import ContentFacts, DataFacts, IndexFacts, ManifestFields, RankerFacts
from models.bundle.reading import Bundle, list_bundles, load_bundle, read_ranker
from models.bundle.writing import write_bundle
from models.content.content_map import ContentMap
from models.content.description import Description, content_fields
from models.content.fitting import fit_inputs
from models.factors.als import AlsParameters, fit_als
from models.monitoring.bias import BiasTerms
from models.ranking.attributes import Attributes, choose_attributes, user_values
from models.ranking.features import EARLIER_FEATURES, FEATURES, FEATURES_HASH
from models.ranking.item_relations import ItemRelations
from models.ranking.item_table import ItemStatistics
from models.ranking.ranker import Ranker, RankerParameters, fit_ranker
from models.ranking.ranking_parts import RankingParts
from models.relations.more_sources import NO_MORE
from models.relations.top_k import TopK

NOW_MS = 1_767_225_600_000
PARAMETERS = AlsParameters(factors=4, regularization=2.0, alpha=3.0, iterations=3)


def contents(seed: int = 0, threads: int = 1) -> BundleContents:
    weights = sp.random(30, 20, density=0.3, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    factors = fit_als(weights, PARAMETERS, seed, threads)
    return BundleContents(
        item_ids=np.array([f"item {i}" for i in range(20)], dtype=object),
        user_ids=np.array([*(str(u) for u in range(29)), "日本-ü"], dtype=object),
        item_factors=factors.item_factors,
        user_factors=factors.user_factors,
        mean_user=factors.user_factors.mean(axis=0),
        item_counts=np.diff(weights.tocsc().indptr).astype(np.int64),
        item_last_ms=np.arange(20, dtype=np.int64),
    )


def fields(**changes: object) -> ManifestFields:
    given = ManifestFields(
        parameters=PARAMETERS,
        weighting="preference",
        event_preset="movies",
        seed=0,
        user_id_type="str",
        item_id_type="str",
        data=DataFacts(name="test", fingerprint="0" * 64, n_interactions=180, last_ms=19),
        metrics={"ndcg_at_10": 0.5},
        index=IndexFacts(kind="flat", recall=1.0),
    )
    return given.model_copy(update=changes)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundles", contents(), fields(), NOW_MS)


def assert_same(one: BundleContents, other: BundleContents) -> None:
    for name in BundleContents.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_what_was_written_is_read(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert isinstance(loaded, Bundle)
    assert_same(loaded, contents())
    assert loaded.manifest.version == bundle.name
    assert bundle.name.startswith("20260101-000000-")
    assert loaded.manifest.metrics == {"ndcg_at_10": 0.5}
    assert list_bundles(bundle.parent) == [bundle]


def test_the_same_data_and_seed_give_the_same_hash_whatever_the_threads_and_the_time(tmp_path: Path) -> None:
    one = load_bundle(write_bundle(tmp_path, contents(threads=1), fields(), NOW_MS)).manifest
    two = load_bundle(write_bundle(tmp_path, contents(threads=2), fields(metrics={}), NOW_MS + 5000)).manifest
    assert one.content_hash == two.content_hash
    assert one.version != two.version
    assert one.files == two.files


def test_another_seed_or_parameter_gives_another_hash() -> None:
    base = content_hash(contents(), fields())
    assert content_hash(contents(seed=1), fields()) != base
    assert content_hash(contents(), fields(weighting="consumption")) != base
    assert content_hash(contents(), fields(parameters=PARAMETERS.model_copy(update={"alpha": 3.5}))) != base


def test_writing_the_same_again_in_the_same_second_keeps_the_first(bundle: Path) -> None:
    assert write_bundle(bundle.parent, contents(), fields(), NOW_MS) == bundle
    assert list_bundles(bundle.parent) == [bundle]


@pytest.mark.parametrize("name", ["items.npz", "users.npz", "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_file_is_refused_by_name(bundle: Path, name: str, damage: str) -> None:
    file = bundle / name
    raw = file.read_bytes()
    if damage == "flip":
        middle = len(raw) // 2
        file.write_bytes(raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :])
    elif damage == "remove":
        file.unlink()
    else:
        file.write_bytes(raw[: len(raw) // 2 if damage == "truncate" else 0])
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        load_bundle(bundle)


def test_an_extra_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "model.pickle").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.pickle"):
        load_bundle(bundle)


def test_a_renamed_bundle_is_refused(bundle: Path) -> None:
    moved = bundle.rename(bundle.parent / "20260101-000000-00000000")
    with pytest.raises(BundleError, match="directory"):
        load_bundle(moved)


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="manifest"):
        load_bundle(tmp_path / "20260101-000000-00000000")


def test_pickled_arrays_are_never_loaded(bundle: Path) -> None:
    """A bundle whose sums are right, but whose arrays hold objects: reading it would run what it holds."""
    import hashlib
    import json

    file = bundle / "items.npz"
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "ids": np.array([{"any": "object"}], dtype=object)})
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["items.npz"] = hashlib.sha256(file.read_bytes()).hexdigest()
    text = json.dumps(manifest)
    (bundle / "manifest.json").write_text(text)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  manifest.json\n")
    with pytest.raises(BundleError, match=r"items\.npz.*allow_pickle"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("item_factors", np.full((20, 4), np.nan, np.float32), "item_factors.*finite"),
        ("item_factors", np.zeros((19, 4), np.float32), "item_factors"),
        ("user_factors", np.zeros((30, 4)), "user_factors is float64"),
        ("mean_user", np.zeros(3, np.float32), "mean_user"),
        ("item_counts", np.zeros(20, np.int32), "item_counts"),
        ("item_ids", np.array(["a"] * 20, dtype=object), "item_ids must be distinct"),
        ("user_ids", np.array([*map(str, range(29)), "a\nb"], dtype=object), "line break"),
    ],
)
def test_contents_that_do_not_fit_are_refused(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    broken = BundleContents(**{**vars(contents()), name: value})
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path, broken, fields())
    assert list_bundles(tmp_path) == []


def test_bias_terms_travel_with_the_bundle_and_belong_to_its_content(tmp_path: Path) -> None:
    plain = contents()
    terms = BiasTerms(3.5, np.linspace(-1, 1, 20, dtype=np.float32), np.linspace(0, 1, 30, dtype=np.float32))
    biased = replace(plain, bias=terms)
    found = load_bundle(write_bundle(tmp_path, biased, fields())).bias
    assert found is not None
    assert found.mean == 3.5
    assert (found.items == terms.items).all()
    assert (found.users == terms.users).all()
    assert content_hash(plain, fields()) != content_hash(biased, fields())
    assert load_bundle(write_bundle(tmp_path, plain, fields())).bias is None
    with pytest.raises(BundleError, match=r"bias\.users"):
        write_bundle(tmp_path, replace(plain, bias=BiasTerms(3.5, terms.items, terms.items)), fields())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    undefined = fields().model_copy(update={"metrics": {"ndcg_at_10": float("nan")}})
    with pytest.raises(ValidationError, match="ndcg_at_10"):
        write_bundle(tmp_path, contents(), undefined)
    assert list(tmp_path.iterdir()) == []


def with_ranker() -> tuple[BundleContents, ManifestFields]:
    generator = np.random.default_rng(0)
    parameters = RankerParameters(trees=5, smallest_leaf=5)
    features = generator.normal(size=(200, len(FEATURES))).astype(np.float32)
    ranker = fit_ranker(features, features[:, 0] > 1, np.full(10, 20), parameters, seed=0)
    statistics = ItemStatistics(
        np.arange(20), np.full(20, np.nan, np.float32), np.full(20, 1999, np.float32), np.arange(20.0)
    )
    square = np.ones((20, 20), np.float32)
    given = replace(contents(), ranking=RankingParts(ranker, statistics, ItemRelations(square, 2 * square)))
    return given, fields(
        ranker=RankerFacts(features_hash=FEATURES_HASH, parameters=parameters, lists=10, candidates=100, trending=50)
    )


def with_content(given: BundleContents, facts: ManifestFields) -> tuple[BundleContents, ManifestFields]:
    """The same with what gives new items their vectors."""
    written = [Description(f"Thing {n}", 1990 + n, ("War",), {"maker": "ACME", "price": n / 2}) for n in range(4)]
    inputs = fit_inputs(written, content_fields({"maker": "keyword", "price": "number"}), 0.3)
    weights = np.random.default_rng(0).normal(size=(inputs.width, PARAMETERS.factors)).astype(np.float32)
    facts = facts.model_copy(update={"content": ContentFacts(fields=inputs.fields)})
    return replace(given, content=ContentMap(inputs, weights)), facts


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


def test_a_bundle_of_the_version_before_serves_on(tmp_path: Path) -> None:
    """Its ranker knows fewer features, its relations are matrices alone, and its manifest names no further sources."""
    import lightgbm

    given, facts = with_ranker()
    assert given.ranking is not None
    assert facts.ranker is not None
    [(earlier, names)] = EARLIER_FEATURES.items()
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
    assert not loaded.ranking.reads_repeats
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

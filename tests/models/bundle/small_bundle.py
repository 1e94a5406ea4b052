"""A small model, as its arrays and as the fields of its manifest."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from models.bundle.arrays import BundleContents
from models.bundle.manifest import ContentFacts, DataFacts, IndexFacts, ManifestFields, RankerFacts
from models.content.content_map import ContentMap
from models.content.description import Description, content_fields
from models.content.fitting import fit_inputs
from models.factors.als import AlsParameters, fit_als
from models.ranking.features import FEATURES, FEATURES_HASH
from models.ranking.item_relations import ItemRelations
from models.ranking.item_table import ItemStatistics
from models.ranking.ranker import RankerParameters, fit_ranker
from models.ranking.ranking_parts import RankingParts

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


def assert_same(one: BundleContents, other: BundleContents) -> None:
    for name in BundleContents.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


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

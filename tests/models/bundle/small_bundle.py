"""A small model, as its arrays and as the fields of its manifest."""

import numpy as np
import scipy.sparse as sp

from models.bundle.arrays import BundleContents
from models.bundle.manifest import DataFacts, IndexFacts, ManifestFields
from models.factors.als import AlsParameters, fit_als

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

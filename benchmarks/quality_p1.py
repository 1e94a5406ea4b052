"""`python -m benchmarks.quality_p1`: the published MovieLens 100K benchmark (protocol P1), all items ranked.

The split is that of recommenders-team/recommenders (examples/06_benchmarks/movielens.ipynb); the best result
published there is BiVAE with MAP@10 .1461 and NDCG@10 .4751. The parameters below were chosen on inner splits.
"""

import sys
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from configs.settings import load_settings
from data.dataset import DataError, Dataset, load_dataset, processed_dir
from data.matrix import pairs_to_csr, pairs_to_mask
from data.splits import benchmark_split
from data.vocabulary import build_vocabulary
from models.evaluation.metrics import Interval, bootstrap_interval, user_metrics
from models.factors.als import AlsParameters, fit_als
from models.retrieval.whole_catalogue import recommend_factors, recommend_scores

K = 10
SEED = 0
LOW_RATING = 2.0


@dataclass(frozen=True)
class Row:
    """One line of the report: a model with its metrics, each with a 95 % interval over users."""

    name: str
    map_at_10: Interval
    ndcg_at_10: Interval
    precision_at_10: float
    recall_at_10: float


def measure(dataset: Dataset) -> list[Row]:
    """Popularity, untuned ALS and two tuned ones on the benchmark's split."""
    frame = dataset.interactions
    users, items = build_vocabulary(frame["user_id"], "int"), build_vocabulary(frame["item_id"], "int")
    shape = (len(users), len(items))
    user, item = users.encode(frame["user_id"]), items.encode(frame["item_id"])
    rating = frame["value"].to_numpy()
    split = benchmark_split(frame["item_id"].astype(int).to_numpy())
    train, test = split.train, split.test
    seen, relevant = pairs_to_mask(user[train], item[train], *shape), pairs_to_mask(user[test], item[test], *shape)
    counts = np.bincount(item[train], minlength=shape[1])
    binary = np.ones(len(train), np.float32)
    halved = np.where(rating[train] <= LOW_RATING, 0.5, 1.0).astype(np.float32)
    arms = {
        "ALS 64, reg .1, alpha 1 (untuned)": (binary, AlsParameters(regularization=0.1, alpha=1.0)),
        "ALS 64, reg 50, alpha 8, binary": (binary, AlsParameters(regularization=50.0, alpha=8.0)),
        "ALS 64, reg 32, alpha 4, .5 where rated <= 2": (halved, AlsParameters(regularization=32.0, alpha=4.0)),
    }
    rows = [_row("popularity", recommend_scores(counts, seen, K, counts > 0), relevant)]
    for name, (weights, parameters) in arms.items():
        factors = fit_als(pairs_to_csr(user[train], item[train], weights, *shape), parameters, SEED, threads=0)
        recommended = recommend_factors(factors.user_factors, factors.item_factors, seen, K, counts > 0)
        rows.append(_row(name, recommended, relevant))
    return rows


def _row(name: str, recommended: np.ndarray, relevant: sp.csr_matrix) -> Row:
    found = user_metrics(recommended, relevant)
    return Row(
        name,
        bootstrap_interval(found.map_at_k, SEED),
        bootstrap_interval(found.ndcg, SEED),
        float(np.nanmean(found.precision)),
        float(np.nanmean(found.recall)),
    )


def main() -> int:
    """Print the table. MAP@10 is over |relevant|, as the benchmark defines it."""
    try:
        dataset = load_dataset(processed_dir(load_settings()))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'':46} {'MAP@10':>23} {'NDCG@10':>23} {'precision':>10} {'recall':>7}")
    for row in measure(dataset):
        intervals = [f"{i.mean:.4f} [{i.low:.4f}, {i.high:.4f}]" for i in (row.map_at_10, row.ndcg_at_10)]
        print(
            f"{row.name:46} {intervals[0]:>23} {intervals[1]:>23} {row.precision_at_10:10.4f} {row.recall_at_10:7.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Retrieval as the catalogue grows: time per query and recall of the item index against exact search.

Item factors are drawn round a few hundred centres with lengths that fall like popularity does, as trained factors
are; queries are sums of the factors of items that lie together, as a user's history does. `python -m benchmarks.index`
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.serving import machine
from models.retrieval.index import ItemIndex

N_FACTORS, K, QUERIES = 64, 100, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[1_682, 10_000, 100_000, 1_000_000])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/index.json"))
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    print(
        f"{machine()}, one thread\n{'items':>10} {'kind':>5} {'recall':>7} {'exact':>10} {'index':>10} {'of exact':>9}"
    )
    rows = [measure(n_items) for n_items in args.items]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"machine": machine(), "command": " ".join(sys.argv), "rows": rows}, indent=2) + "\n"
    )


def measure(n_items: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    factors, queries = made_up(n_items, generator)
    exact = faiss.IndexFlatIP(N_FACTORS)
    exact.add(factors)
    started = time.perf_counter()
    index = ItemIndex(factors)
    build_s = time.perf_counter() - started
    exact_ms, truth = timed(lambda query: exact.search(query, K)[1], queries)
    index_ms, found = timed(lambda query: index.search(query, K)[1], queries)
    recall = float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(truth, found, strict=True)]))
    row = {
        "items": n_items,
        "kind": index.kind,
        "recall_on_other_queries": recall,
        "recall_at_build": index.recall,
        "exact_ms": exact_ms,
        "index_ms": index_ms,
        "of_exact": index_ms / exact_ms,
        "build_s": build_s,
    }
    print(f"{n_items:>10} {index.kind:>5} {recall:>7.3f} {exact_ms:>8.3f}ms {index_ms:>8.3f}ms {row['of_exact']:>9.2f}")
    return row


def made_up(n_items: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Item factors (n_items, f) and queries (QUERIES, f), float32."""
    centres = generator.normal(size=(300, N_FACTORS))
    cluster = generator.integers(len(centres), size=n_items)
    length = (1 + np.arange(n_items)) ** -0.3
    factors = (centres[cluster] + 0.7 * generator.normal(size=(n_items, N_FACTORS))) * length[:, None]
    queries = np.empty((QUERIES, N_FACTORS))
    for row in range(QUERIES):
        members = np.flatnonzero(np.isin(cluster, generator.integers(len(centres), size=3)))
        queries[row] = factors[generator.choice(members, 20)].sum(axis=0)
    return factors.astype(np.float32), queries.astype(np.float32)


def timed(search: Any, queries: np.ndarray) -> tuple[float, np.ndarray]:
    """Median milliseconds of one query at a time, and what was found."""
    search(queries[:1])
    times, found = [], []
    for row in range(len(queries)):
        started = time.perf_counter()
        found.append(search(queries[row : row + 1])[0])
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000, np.array(found)


if __name__ == "__main__":
    main()

"""Which items score highest for a query vector: exact up to a size, approximate with measured recall above it."""

from dataclasses import dataclass

import faiss
import numpy as np

from models.retrieval.whole_catalogue import top_k

DEPTHS = (100, 700)
"""At these depths recall is measured: what retrieval hands to ranking, and that with a whole history to leave out.
Deeper searches are exact."""
_CELLS = 4_000_000  # scores held at once by an exact search beyond the measured depth: 16 MB


@dataclass(frozen=True)
class TunedIndex:
    """What makes an approximate index the one that was measured, wherever it is built again.

    Attributes:
        centroids: (lists, f + 1) float32, of the augmented items.
        probes: how many lists are searched.
        recall: the smallest over `DEPTHS`, against exact search.
    """

    centroids: np.ndarray
    probes: int
    recall: float


class ItemIndex:
    """Maximum inner product search over the item factors.

    Up to `exact_limit` items every item is scored. Above that, inner product is reduced to Euclidean distance by
    one more coordinate (items: sqrt(M^2 - |x|^2) with M the longest item, queries: 0; Bachrach et al., RecSys 2014),
    because an inverted file over raw inner products needs half its lists to find the right items. The number of
    lists searched is doubled until the recall measured on a sample reaches the bound at every depth of `DEPTHS`.

    Args:
        item_factors: (n_items, f) float32, finite.
        exact_limit: largest catalogue that is searched exactly.
        recall_bound: smallest acceptable recall.
        seed: seeds the clustering and the sample.
        sample_queries: (q, f) user vectors to measure recall with; without them, sums of ten items stand in.
        tuned: as measured before; then nothing is clustered or measured again.

    Attributes:
        kind: "flat" or "ivf".
        recall: measured against exact search; 1.0 for the exact kind.
        tuned: with which this very index can be built again; None for the exact kind.
    """

    def __init__(
        self,
        item_factors: np.ndarray,
        exact_limit: int = 50_000,
        recall_bound: float = 0.95,
        seed: int = 0,
        sample_queries: np.ndarray | None = None,
        tuned: TunedIndex | None = None,
    ) -> None:
        self._factors = np.ascontiguousarray(item_factors, np.float32)
        self.n_items, self.n_factors = self._factors.shape
        if not np.isfinite(self._factors).all():
            raise ValueError("item factors must be finite")
        self._ivf: faiss.IndexIVFFlat | None = None
        self.kind, self.recall, self.tuned = "flat", 1.0, tuned
        if tuned is not None:
            self._ivf = self._build_ivf(seed, tuned.centroids)
            self._ivf.nprobe, self.kind, self.recall = tuned.probes, "ivf", tuned.recall
            return
        # The exact kind, and what recall is measured against.
        self._flat: faiss.IndexFlatIP | None = faiss.IndexFlatIP(self.n_factors)
        self._flat.add(self._factors)
        if self.n_items > exact_limit:
            self._ivf = self._build_ivf(seed, None)
            queries = self._sample(seed) if sample_queries is None else sample_queries.astype(np.float32)
            self._tune(queries, recall_bound)
            if self._ivf is not None:
                # Only measuring the recall needed the exact index; the factors would be held twice.
                self._flat = None

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for each query.

        Args:
            queries: (B, f) float32.
            k: how many are wanted; at most `n_items` are found.

        Returns:
            scores (B, k) float32, falling, and items (B, k) int64; items of equal score come lower index first. Where
            fewer were found, score -inf and item -1.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        width = min(k, self.n_items)
        if len(queries) == 0 or width == 0:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        if self._ivf is None:
            scores, items = self._search_flat(queries, width)
        elif width <= DEPTHS[-1]:
            scores, items = self._search_ivf(queries, width)
        else:
            scores, items = self._search_all(queries, width)
        if width < k:
            pad = ((0, 0), (0, k - width))
            scores = np.pad(scores, pad, constant_values=-np.inf)
            items = np.pad(items, pad, constant_values=-1)
        return scores, items

    def _search_flat(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._flat is not None
        scores, items = self._flat.search(queries, min(k + 1, self.n_items))
        if k < self.n_items:
            # faiss keeps an arbitrary one of the items that tie for the last place: widen such rows until they fit.
            for row in np.flatnonzero(scores[:, k] == scores[:, k - 1]):
                wide, found = self._widen(queries[row : row + 1], k)
                best = np.lexsort((found, -wide))[:k]
                scores[row, :k], items[row, :k] = wide[best], found[best]
        scores, items = scores[:, :k], items[:, :k]
        return _in_order(scores, items)

    def _widen(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._flat is not None
        width = k
        while True:
            width = min(4 * width, self.n_items)
            scores, items = self._flat.search(query, width)
            if width == self.n_items or scores[0, -1] < scores[0, k - 1]:
                return scores[0], items[0]

    def _search_all(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact, for searches deeper than recall was measured at."""
        scores, items = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        step = max(1, _CELLS // self.n_items)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            every = queries[part] @ self._factors.T
            items[part] = top_k(every, k)
            scores[part] = np.take_along_axis(every, items[part], axis=1)
        return scores, items

    def _build_ivf(self, seed: int, centroids: np.ndarray | None) -> faiss.IndexIVFFlat:
        lists = max(512, 2 ** int(np.round(np.log2(1.6 * np.sqrt(self.n_items)))))
        lists = min(lists, max(1, self.n_items // 39))  # faiss wants 39 training points a list
        norms = np.einsum("ij,ij->i", self._factors, self._factors)
        extra = np.sqrt(np.maximum(norms.max() - norms, 0.0))[:, None]
        augmented = np.hstack([self._factors, extra]).astype(np.float32)
        # faiss keeps a pointer to the quantizer only, so it must live as long as the index.
        self._quantizer = faiss.IndexFlatL2(self.n_factors + 1)
        if centroids is not None:
            lists = len(centroids)
            self._quantizer.add(np.ascontiguousarray(centroids, np.float32))
        index = faiss.IndexIVFFlat(self._quantizer, self.n_factors + 1, lists)
        index.cp.seed = seed % (2**31)
        index.train(augmented)  # clusters nothing where the centroids are there
        index.add(augmented)
        return index

    def _sample(self, seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        histories = generator.integers(self.n_items, size=(200, 10))
        return self._factors[histories].sum(axis=1)

    def _tune(self, queries: np.ndarray, bound: float) -> None:
        assert self._ivf is not None
        assert self._flat is not None
        depths = [min(depth, self.n_items) for depth in DEPTHS]
        exact = self._flat.search(queries, depths[-1])[1]
        self._ivf.nprobe = 8
        while True:
            recall = min(self._recall(queries, exact, depth) for depth in depths)
            if recall >= bound:
                centroids = self._quantizer.reconstruct_n(0, self._quantizer.ntotal)
                self.kind, self.recall = "ivf", recall
                self.tuned = TunedIndex(centroids, int(self._ivf.nprobe), recall)
                return
            if self._ivf.nprobe >= self._ivf.nlist:
                # Every list searched and still below: rounding in the augmented distance. Exact is slower but right.
                self._ivf = None
                return
            self._ivf.nprobe = min(2 * self._ivf.nprobe, self._ivf.nlist)

    def _recall(self, queries: np.ndarray, exact: np.ndarray, depth: int) -> float:
        found = self._search_ivf(queries, depth)[1]
        pairs = zip(exact[:, :depth], found, strict=True)
        return float(np.mean([len(np.intersect1d(right, mine)) / depth for right, mine in pairs]))

    def _search_ivf(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._ivf is not None
        augmented = np.hstack([queries, np.zeros((len(queries), 1), np.float32)])
        items = self._ivf.search(augmented, k)[1]
        # Scores are computed anew: recovering them from the distance would subtract nearly equal numbers.
        scores = np.einsum("bkf,bf->bk", self._factors[items], queries).astype(np.float32)
        scores[items < 0] = -np.inf
        return _in_order(scores, items)


def _in_order(scores: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows by falling score, then rising item. faiss's rows fall already, so most batches need no sort."""
    equal = scores[:, 1:] >= scores[:, :-1]
    if not equal.any():
        return scores, items
    order = np.lexsort((items, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(items, order, axis=1)

"""What a recommender has to beat: popularity, a user's own habits, neighbours of items, and linear models of them.

Those that read a history are fitted once and score histories block by block, so that nothing has users times items.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from models.evaluation.contenders import Answer, Answers, Clock
from models.evaluation.graph_filter import fit_graph_filter
from models.one_blas_thread import one_blas_thread
from models.ranking.item_relations import LIMIT, fit_ease
from models.retrieval.whole_catalogue import recommend_scores, top_k
from models.training.first_stage import FirstStage
from models.training.past_requests import Requests, excluded_items
from models.training.stage_histories import request_interest
from models.training.training_data import TrainingData

K = 10
NEIGHBOURS = 200
"""Of each item. On MovieLens (P1) cosine has MAP@10 .1228 with 100 of them and .1306 with 200."""
COUNTS = 5.0
"""What a confidence of 1 counts for BM25, which saturates: as five plays, or a rating of five. Counted as one, MAP@10
is .1170 there; as five, .1317, which is what ratings as they are give."""
HALF_LIFE_MS = 60 * 86_400_000.0  # of a user's own events, where none was chosen
_LONGEST = 5_000  # items of one user that neighbours are counted from: pairs grow with the square
_CELLS = 4_000_000  # scores held at once: 32 MB
Scorer = Callable[[sp.csr_matrix], np.ndarray]
"""From histories (n, n_items), stored entries count 1, to scores (n, n_items)."""


def popularity_scores(weights: sp.csr_matrix) -> np.ndarray:
    """(n_items,) how many users have each item."""
    return np.bincount(weights.indices, minlength=weights.shape[1]).astype(np.float64)


def recent_popularity_scores(
    item: np.ndarray, times_ms: np.ndarray, n_items: int, half_life_ms: float = 604_800_000.0
) -> np.ndarray:
    """(n_items,) events, each halved with every half-life before the latest one."""
    age = (times_ms - times_ms.max()) / half_life_ms
    return np.bincount(item, np.exp2(age), minlength=n_items)


def fit_item_knn(train: sp.csr_matrix, kind: str = "cosine", neighbours: int = NEIGHBOURS) -> Scorer:
    """Item neighbours (Deshpande, Karypis, ACM TOIS 2004): an item scores by its nearest ones that are in a history.

    Args:
        train: (n_users, n_items), confidences; for the cosine all stored entries count 1.
        kind: "cosine", or "bm25" for counts weighted by BM25, which tells a rare item from a frequent one.
        neighbours: how many of each item are kept.
    """
    from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight

    train = _shortened(train)
    if kind == "bm25":
        scaled = sp.csr_matrix(bm25_weight(sp.csr_matrix(COUNTS * train.T.astype(np.float64)), K1=1.2, B=0.75).T)
    else:
        ones = _ones(train)
        of_items = np.bincount(ones.indices, minlength=ones.shape[1]).astype(np.float64)
        length = np.divide(1.0, np.sqrt(of_items), out=np.zeros_like(of_items), where=of_items > 0)
        scaled = sp.csr_matrix(ones @ sp.diags(length))
    # One more than is kept: every item is its own nearest.
    model = ItemItemRecommender(K=neighbours + 1, num_threads=1)
    model.fit(scaled, show_progress=False)
    near = sp.csr_matrix(model.similarity, copy=True)
    near.setdiag(0)
    near.eliminate_zeros()
    near = sp.csr_matrix(near.T)
    return lambda histories: (_ones(histories) @ near).toarray()


def fit_ease_scorer(train: sp.csr_matrix, ease_lambda: float = 600.0) -> Scorer:
    """EASE (Steck, WWW 2019), dense in the items: for at most `models.ranking.item_relations.LIMIT` of them."""
    weights = fit_ease(train, ease_lambda)
    return lambda histories: np.asarray(_ones(histories) @ weights, np.float32)


def personal_frequency(
    data: TrainingData, requests: Requests, seen: sp.csr_matrix, known_items: np.ndarray, half_life_ms: float
) -> np.ndarray:
    """(B, K) int64: what each user took up most often, an event halved with every half-life before the request.

    Items that would not be served (`seen`, not `known_items`) are left out; a short history gives a short list.
    """
    best = np.full((len(requests), K), -1, np.int64)
    for place, rows in enumerate(requests.rows):
        closed = seen.indices[seen.indptr[place] : seen.indptr[place + 1]]
        rows = rows[known_items[data.item[rows]]]
        rows = rows[~np.isin(data.item[rows], closed)]
        items, number = np.unique(data.item[rows], return_inverse=True)
        age = (data.times_ms[rows] - requests.at_ms[place]) / half_life_ms
        counts = np.bincount(number, np.exp2(age), len(items))
        own = items[np.lexsort((items, -counts))[:K]]
        best[place, : len(own)] = own
    return best


def baselines(
    stage: FirstStage,
    requests: Requests,
    seen: sp.csr_matrix,
    train: np.ndarray,
    own_half_life_ms: float = HALF_LIFE_MS,
    neighbours: bool = True,
) -> Answers:
    """Every baseline that the data allows, on the same requests, each with its processor time.

    Args:
        stage: gives the weights to fit on, and what may be shown.
        seen: (B, n_items) what the lists leave out.
        train: the rows behind the stage.
        own_half_life_ms: of a user's own events, where items may come again.
        neighbours: whether those that read histories through neighbours of items are asked too.
    """
    data, known, n_items = stage.data, stage.known_items, len(stage.known_items)
    clock, found = Clock(), {}
    found["popularity"] = Answer(recommend_scores(popularity_scores(stage.weights), seen, K, known), clock())
    recent = recent_popularity_scores(data.item[train], data.times_ms[train], n_items)
    found["recent popularity"] = Answer(recommend_scores(recent, seen, K, known), clock())
    histories = request_histories(stage, requests)
    if may_come_again(histories, seen):
        found["personal frequency"] = Answer(personal_frequency(data, requests, seen, known, own_half_life_ms), clock())
    if not neighbours:
        return found
    for name, fit in history_models(n_items).items():
        clock()
        found[name] = Answer(recommend_histories(fit(stage.weights), histories, seen, known), clock())
    return found


def history_models(n_items: int) -> dict[str, Callable[[sp.csr_matrix], Scorer]]:
    """The baselines that score a history, by name."""
    found: dict[str, Callable[[sp.csr_matrix], Scorer]] = {
        "item-kNN cosine": fit_item_knn,
        "item-kNN BM25": lambda weights: fit_item_knn(weights, "bm25"),
        "GF-CF": fit_graph_filter,
    }
    return found | ({"EASE": fit_ease_scorer} if n_items <= LIMIT else {})


def request_histories(stage: FirstStage, requests: Requests) -> sp.csr_matrix:
    """(B, n_items) ones: what each request's history speaks for."""
    items, weights = request_interest(stage, requests)
    own: Sequence[np.ndarray] = [mine[weight > 0] for mine, weight in zip(items, weights, strict=True)]
    columns = np.concatenate([np.empty(0, np.int64), *own])
    starts = np.concatenate([[0], np.cumsum([len(mine) for mine in own], dtype=np.int64)])
    return sp.csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(own), len(stage.known_items)))


def may_come_again(histories: sp.csr_matrix, seen: sp.csr_matrix) -> bool:
    """Whether lists may hold anything that its user has had."""
    return bool(histories.nnz > histories.multiply(seen).nnz)


def recommend_histories(
    scorer: Scorer, histories: sp.csr_matrix, seen: sp.csr_matrix, known_items: np.ndarray
) -> np.ndarray:
    """(n, K) int64, -1 padded: the best by a scorer, without what is seen or unknown."""
    best = np.full((histories.shape[0], K), -1, np.int64)
    step = max(1, _CELLS // max(1, histories.shape[1]))
    with one_blas_thread():
        for start in range(0, histories.shape[0], step):
            part = slice(start, start + step)
            scores, out = scorer(histories[part]), seen[part]
            scores[np.repeat(np.arange(out.shape[0]), np.diff(out.indptr)), out.indices] = -np.inf
            scores[:, ~known_items] = -np.inf
            best[part] = top_k(scores, K)
    return best


def left_out_of(stage: FirstStage, requests: Requests) -> sp.csr_matrix:
    """(B, n_items) bool: what serving leaves out of each request's list."""
    return excluded_items(stage.data, requests.rows, stage.weighting)


def _shortened(train: sp.csr_matrix) -> sp.csr_matrix:
    """The same without a random part of what very large users have."""
    sizes = np.diff(train.indptr)
    if sizes.max(initial=0) <= _LONGEST:
        return train
    row = np.repeat(np.arange(train.shape[0]), sizes)
    kept = np.random.default_rng(0).random(train.nnz) < np.minimum(1.0, _LONGEST / np.maximum(sizes, 1))[row]
    return sp.csr_matrix((train.data[kept], (row[kept], train.indices[kept])), shape=train.shape)


def _ones(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)

import numpy as np
import pytest
import scipy.sparse as sp

from models.evaluation.metrics import bootstrap_interval, clustered_interval, coverage, hits, user_metrics


def relevant(lists: list[list[int]], n_items: int = 30) -> sp.csr_matrix:
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    columns = np.array([item for items in lists for item in items], int)
    return sp.csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(lists), n_items))


def test_against_lists_computed_by_hand() -> None:
    # Ranks 1 and 3 of 4 hit, of 3 relevant items.
    found = user_metrics(np.array([[7, 1, 9, 2]]), relevant([[7, 9, 20]]))
    precisions = 1 / 1 + 2 / 3
    assert found.map_at_k[0] == pytest.approx(precisions / 3)
    assert found.map_k_at_k[0] == pytest.approx(precisions / 3)
    assert found.precision[0] == pytest.approx(2 / 4)
    assert found.recall[0] == pytest.approx(2 / 3)
    assert found.hit_rate[0] == 1.0
    dcg, best = 1 + 1 / np.log2(4), 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert found.ndcg[0] == pytest.approx(dcg / best)


def test_the_two_kinds_of_map_differ_where_more_is_relevant_than_shown() -> None:
    found = user_metrics(np.array([[0, 1]]), relevant([[0, 1, 2, 3, 4]]))
    assert found.map_at_k[0] == pytest.approx(2 / 5)
    assert found.map_k_at_k[0] == pytest.approx(1.0)
    assert found.ndcg[0] == pytest.approx(1.0)


def test_nothing_relevant_is_undefined_and_nothing_recommended_is_zero() -> None:
    found = user_metrics(np.array([[1, 2], [-1, -1]]), relevant([[], [3]]))
    for name, values in vars(found).items():
        assert np.isnan(values[0]), name
        assert values[1] == 0.0, name


def test_padding_never_hits() -> None:
    # -1 would otherwise meet the last item of the user before
    assert not hits(np.array([[-1], [-1]]), relevant([[29], [0]])).any()


def test_rows_must_agree() -> None:
    with pytest.raises(ValueError, match="rows"):
        user_metrics(np.array([[1]]), relevant([[1], [2]]))


def test_coverage() -> None:
    assert coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5


def test_the_interval_is_reproducible_and_leaves_out_the_undefined() -> None:
    values = np.concatenate([np.random.default_rng(0).random(400), [np.nan] * 50])
    one, two = bootstrap_interval(values, seed=3), bootstrap_interval(values, seed=3)
    assert one == two
    assert one.n == 400
    assert one.mean == pytest.approx(np.nanmean(values))
    error = np.nanstd(values) / np.sqrt(400)
    assert one.mean - one.low == pytest.approx(1.96 * error, rel=0.15)
    assert one.high - one.mean == pytest.approx(1.96 * error, rel=0.15)
    with pytest.raises(ValueError, match="no user"):
        bootstrap_interval(np.array([np.nan]), seed=0)


def test_what_values_of_one_cluster_have_in_common_widens_the_interval() -> None:
    """Ten copies of each value say no more than the values, and a cluster counts by its size."""
    values = np.concatenate([np.random.default_rng(0).random(400), [np.nan] * 50])
    cluster = np.arange(450)
    alone = clustered_interval(cluster, values, 3)
    copied = clustered_interval(np.repeat(cluster, 10), values.repeat(10), 3)
    assert alone == clustered_interval(cluster, values, 3)
    assert (alone.n, copied.n) == (400, 400)
    assert (copied.mean, copied.low, copied.high) == pytest.approx((alone.mean, alone.low, alone.high))
    error = np.nanstd(values) / np.sqrt(400)
    assert alone.high - alone.mean == pytest.approx(1.96 * error, rel=0.15)
    apart = clustered_interval(np.arange(4500), values.repeat(10), 3)
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)
    assert clustered_interval(np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 1.0, 0.0]), 0).mean == 0.75
    with pytest.raises(ValueError, match="no value"):
        clustered_interval(np.array([0]), np.array([np.nan]), 0)

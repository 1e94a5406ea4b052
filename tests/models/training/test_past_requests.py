import numpy as np
import pytest
import scipy.sparse as sp

from configs.event_types import load_event_types
from features.users.history import History
from features.users.user_features import UserFeatures
from models.evaluation.metrics import user_metrics
from models.factors.als import AlsParameters
from models.ranking.features import FEATURES
from models.training.first_stage import ItemFacts, find_candidates, fit_first_stage
from models.training.past_requests import in_store_order, user_requests, window_requests
from models.training.ranker_judgement import train_second_stage
from models.training.ranker_lists import RankerRows, request_features, rerank
from models.training.ranker_windows import RANKER, Recipe, learn, lists_before_latest, thin
from models.training.training_data import TrainingData, training_data_from_frame
from tests.jobs.job_data import two_tastes

PARAMETERS = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    frame = two_tastes(n_users=120)
    return in_store_order(training_data_from_frame(frame, load_event_types(), "t", ("int", "int"), 0, {}, "0" * 64))


def catalogue(data: TrainingData) -> ItemFacts:
    n = len(data.items)
    return ItemFacts(np.full(n, 1999, np.float32), {"even": np.arange(n) % 2 == 0})


def test_a_request_sees_its_past_only(data: TrainingData) -> None:
    """The leak test: whatever happens after the request, its candidates and features stay the same."""
    n = len(data)
    train, window = np.arange(1200), np.arange(1200, n)
    stage = fit_first_stage(data, train, "consumption", PARAMETERS, catalogue(data), 0, 1)
    requests = window_requests(data, train, window, (0, 2), {2: 3}, stage.known_items, "consumption", live=True)
    candidates = find_candidates(stage, requests, 10, 5)
    moment = float(np.median(requests.at_ms))
    early = requests.some(np.flatnonzero(requests.at_ms <= moment))
    assert 10 < len(early) < len(requests)
    before = [features for _, features, _ in request_features(stage, early, find_candidates(stage, early, 10, 5))]

    later = data.times_ms > moment
    changed = data.rows(np.arange(n))
    changed.item[later] = 7
    changed.values[later] = 5.0
    other = fit_first_stage(changed, train, "consumption", PARAMETERS, catalogue(data), 0, 1)
    after = [features for _, features, _ in request_features(other, early, find_candidates(other, early, 10, 5))]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(after))
    assert (candidates.items >= 0).any()


def test_features_are_those_of_the_online_store(data: TrainingData) -> None:
    """What the store keeps of a user, computed by its own reader, is what training computes from the events."""
    import struct

    from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS

    requests = user_requests(data, np.arange(len(data)), sp.csr_matrix(np.eye(120, len(data.items), dtype=np.float32)))
    stage = fit_first_stage(data, np.arange(len(data)), "preference", PARAMETERS, catalogue(data), 0, 1)
    [(_, features, lengths)] = list(request_features(stage, requests, find_candidates(stage, requests, 5)))
    column = {name: place for place, name in enumerate(FEATURES)}
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for number in (0, 7, 30):
        rows, at = requests.rows[number], float(requests.at_ms[number])
        times = data.times_ms[rows].astype(float)
        history = History([b"x"] * len(rows), times, data.values[rows], data.codes[rows])
        reference = times[-1]
        sums = [(2.0 ** ((times - reference) / h)).sum() for h in ACTIVITY_HALF_LIVES_MS.values()]
        liked = np.where(data.values[rows] == 5.0, 1.0, -0.5)
        even = data.item[rows] % 2 == 0
        affinity = (liked * even * 2.0 ** ((times - reference) / AFFINITY_HALF_LIFE_MS)).sum()
        stored = UserFeatures(
            1,
            None,
            None,
            {b"act": struct.pack("<dddd", reference, *sums), b"c:even": struct.pack("<dd", reference, affinity)},
        )
        mine = features[first[number]]
        found = stored.activity(int(at))
        assert [mine[column[f"activity_{w}"]] for w in ("1h", "1d", "7d")] == pytest.approx(list(found.values()))
        assert mine[column["log_history"]] == pytest.approx(np.log1p(len(history)))
        shares = stored.affinities(int(at))["even"]
        row = features[first[number] : first[number] + lengths[number], column["affinity_max"]]
        expected = np.sign(shares)  # the only category: its share is all there is
        assert set(row[~np.isnan(row)].tolist()) <= {expected}


def test_store_order_breaks_ties_by_text() -> None:
    import pandas as pd

    frame = pd.DataFrame({"user_id": ["1", "1", "2"], "item_id": ["9", "10", "9"], "value": [3.0, 3.0, 3.0]})
    frame = frame.assign(event_type="rating", timestamp_ms=[5, 5, 1])
    ordered = in_store_order(training_data_from_frame(frame, load_event_types(), "t", ("int", "int"), 0, {}, ""))
    assert [ordered.items.ids[item] for item in ordered.item] == ["9", "10", "9"]


def test_trending_candidates_follow_and_nothing_comes_twice(data: TrainingData) -> None:
    train = np.arange(1500)
    stage = fit_first_stage(data, train, "consumption", PARAMETERS, catalogue(data), 0, 1)
    requests = window_requests(data, train, np.arange(1500, len(data)), (0,), {}, stage.known_items, "consumption")
    plain, blended = find_candidates(stage, requests, 5), find_candidates(stage, requests, 5, 4)
    np.testing.assert_array_equal(blended.items[:, :5], plain.items)
    for row, history in zip(blended.items.tolist(), requests.rows, strict=True):
        found = [item for item in row if item >= 0]
        assert len(set(found)) == len(found) == 9
        assert not set(found) & set(data.item[history].tolist())


def test_a_ranker_learns_from_earlier_windows(data: TrainingData) -> None:
    recipe = Recipe("consumption", PARAMETERS, 0.5, 20, 5)
    parameters = RANKER.model_copy(update={"trees": 20, "smallest_leaf": 5})
    second = train_second_stage(data, catalogue(data), recipe, parameters, seed=0, threads=1)
    again = train_second_stage(data, catalogue(data), recipe, parameters, seed=0, threads=2)
    assert second.metrics == again.metrics
    rows = lists_before_latest(data, catalogue(data), recipe, 0, 1)
    fitted, alike = (learn(rows, parameters, 0, threads) for threads in (1, 2))
    assert fitted is not None
    assert alike is not None
    assert fitted.ranker.text == alike.ranker.text  # on two threads as on one
    stage = fit_first_stage(data, np.arange(1800), "consumption", PARAMETERS, catalogue(data), 0, 1)
    requests = window_requests(
        data, np.arange(1800), np.arange(1800, len(data)), (0,), {}, stage.known_items, "consumption"
    )
    best = rerank(stage, fitted.ranker, requests, find_candidates(stage, requests, 20, 5), 10)
    assert np.nanmean(user_metrics(best, requests.relevant).recall) > 0.5  # of 40 items, 10 shown


def test_thinned_lists_keep_what_is_relevant() -> None:
    relevant = np.array([False, True, False, False, True, False, False])
    rows = RankerRows(np.arange(7, dtype=np.float32)[:, None], relevant, np.array([5, 2]))
    thinned = thin(rows, 3, seed=0)
    assert thinned.lengths.tolist() == [3, 2]
    assert thinned.relevant.sum() == 2
    assert {1.0, 4.0, 5.0, 6.0} <= set(thinned.features.ravel().tolist())
    assert (np.diff(thinned.features.ravel()) > 0).all()

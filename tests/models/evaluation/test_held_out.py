import numpy as np
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings
from data.splits import Split
from features.users.erasure import Erasures
from jobs.train.fit_bundle import cutoff
from jobs.train.load_data import load_training_data
from models.evaluation import held_out
from models.evaluation.held_out import build_fold, evaluate, mean_ndcg
from models.factors.als import AlsParameters
from models.training.training_data import TrainingData, training_data_of

PARAMETERS = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=10)


@pytest.fixture
def data(settings: Settings) -> TrainingData:
    return load_training_data(settings, Erasures({}))


def small(rows: list[tuple[str, str, float]]) -> TrainingData:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "value"])
    frame = frame.assign(event_type="rating", timestamp_ms=np.arange(len(rows)))
    return training_data_of(frame, load_event_types(), "small", ("int", "int"), 0, {}, "0" * 64)


def test_what_is_relevant() -> None:
    data = small(
        [
            ("1", "10", 5.0),
            ("1", "11", 1.0),
            ("2", "11", 5.0),
            ("2", "12", 4.0),
            # held out
            ("1", "12", 5.0),  # relevant
            ("1", "10", 5.0),  # met before
            ("2", "13", 5.0),  # an item that the training part does not know
            ("2", "10", 1.0),  # not liked
            ("3", "10", 5.0),  # a user without history
        ]
    )
    fold = build_fold(data, Split(np.arange(4), np.arange(4, 9)), "preference")
    assert fold.judged.tolist() == [0]
    assert fold.relevant.toarray()[0].tolist() == [0, 0, 1, 0]
    assert fold.seen.toarray()[0].tolist() == [1, 1, 0, 0]  # the disliked item too
    assert fold.weights.toarray()[0].tolist() == [1, 0, 0, 0]
    assert fold.known_items.tolist() == [True, True, True, False]
    consumed = build_fold(data, Split(np.arange(4), np.arange(4, 9)), "consumption")
    assert consumed.relevant.toarray()[1].tolist() == [1, 0, 0, 0]


def test_taste_is_found_and_popularity_is_beaten(data: TrainingData) -> None:
    fold = build_fold(data, cutoff(data, seed=1), "preference")
    found = evaluate(fold, PARAMETERS, prior_weight=0.5, seed=0)
    # Of 20 items of one's own kind, up to 15 are known: what is left fits into ten places.
    assert found["recall_at_10"] > 0.95
    assert found["ndcg_at_10"] > found["popularity_ndcg_at_10"] + 0.1
    assert found["ndcg_at_10_low"] < found["ndcg_at_10"] < found["ndcg_at_10_high"]
    assert found["evaluated_users"] == len(fold.judged) > 20
    assert 0 < found["coverage"] <= 1
    assert evaluate(fold, PARAMETERS, prior_weight=0.5, seed=0) == found


def test_the_objective_tells_good_parameters_from_bad(data: TrainingData) -> None:
    fold = build_fold(data, cutoff(data, seed=1), "preference")
    bad = AlsParameters(factors=8, regularization=5000.0, alpha=1.0, iterations=10)
    assert mean_ndcg(fold, PARAMETERS, seed=0) > mean_ndcg(fold, bad, seed=0) + 0.05


def test_nobody_to_judge_on_is_undefined_and_not_zero() -> None:
    data = small([("1", "10", 5.0), ("2", "11", 5.0), ("3", "12", 5.0)])
    fold = build_fold(data, Split(np.arange(2), np.array([2])), "preference")
    assert np.isnan(mean_ndcg(fold, PARAMETERS, seed=0))
    assert evaluate(fold, PARAMETERS, prior_weight=0.5, seed=0) == {"evaluated_users": 0.0}


def test_of_very_many_users_a_random_part_is_judged(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    split = cutoff(data, seed=1)
    every = build_fold(data, split, "preference").judged
    monkeypatch.setattr(held_out, "MOST_JUDGED", 5)
    some = build_fold(data, split, "preference")
    assert len(some.judged) == 5 < len(every)
    assert set(some.judged.tolist()) <= set(every.tolist())
    assert evaluate(some, PARAMETERS, prior_weight=0.5, seed=0)["evaluated_users"] == 5

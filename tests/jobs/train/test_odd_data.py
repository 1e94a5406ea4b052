"""Whole trainings on data that a user might have by mistake: a model or a plain error, never a crash."""

import numpy as np
import pandas as pd
import pytest

from configs.settings import Settings
from data.dataset import DataError
from features.users.erasure import Erasures
from jobs.train.fit_bundle import fit_bundle
from jobs.train.load_data import load_training_data
from jobs.train.retrain import Result, RetrainOptions, retrain
from jobs.train.retrain_report import describe_data
from models.bundle.reading import load_bundle
from models.factors.als import AlsParameters
from tests.jobs.job_data import two_tastes, write_interactions
from tests.jobs.retraining import Lines

FIXED = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)


def train(settings: Settings, frame: pd.DataFrame) -> Result:
    write_interactions(settings, frame)
    return retrain(settings, RetrainOptions(fixed=FIXED), lambda percent, line: None)


def all_ratings_equal() -> pd.DataFrame:
    return two_tastes().assign(value=4.0)


def users_without_positives() -> pd.DataFrame:
    frame = two_tastes()
    return frame.assign(value=frame["value"].where(frame["user_id"].astype(int) % 3 > 0, 1.0))


def one_moment() -> pd.DataFrame:
    return two_tastes().assign(timestamp_ms=1_000_000_000_000)


def three_rows() -> pd.DataFrame:
    return two_tastes().query("value == 5").iloc[:3]


@pytest.mark.parametrize("make", [all_ratings_equal, users_without_positives, one_moment, three_rows])
def test_a_model_comes_out_all_the_same(with_store: Settings, make: object) -> None:
    result = train(with_store, make())  # type: ignore[operator]
    bundle = load_bundle(result.path)
    assert np.isfinite(bundle.item_factors).all()
    assert result.verdict.promote
    assert all(np.isfinite(value) for value in result.metrics.values())


def events(users: list[int] | np.ndarray, items: list[int] | np.ndarray, value: float = float("nan")) -> pd.DataFrame:
    """One event a row, a second apart; purchases, or ratings where there is a value."""
    return pd.DataFrame(
        {
            "user_id": np.asarray(users).astype(str),
            "item_id": np.asarray(items).astype(str),
            "event_type": "purchase" if np.isnan(value) else "rating",
            "value": np.float32(value),
            "timestamp_ms": np.arange(len(users), dtype=np.int64) * 1000,
        }
    )


def no_ratings() -> pd.DataFrame:
    frame = two_tastes().query("value == 5")
    return frame.assign(event_type="purchase", value=np.float32("nan"))


def one_event_a_user() -> pd.DataFrame:
    return events(np.arange(300), np.random.default_rng(0).integers(30, size=300), 5.0)


def every_user_the_same() -> pd.DataFrame:
    return events(np.repeat(np.arange(40), 12), np.tile(np.arange(12), 40), 5.0)


def one_very_active_user() -> pd.DataFrame:
    """One user has five times as many events as all others, who have few, and more than a history keeps."""
    return pd.concat(
        [two_tastes(n_users=30), events(np.full(4000, 999), np.random.default_rng(0).integers(40, size=4000), 5.0)]
    )


def one_item_with_half_of_all() -> pd.DataFrame:
    frame = two_tastes()
    other = np.random.default_rng(0).integers(60, size=len(frame))
    return pd.concat([frame, events(other, np.zeros(len(frame), int), 5.0)])


def items_with_one_event() -> pd.DataFrame:
    """Of 2,040 items 2,000 have one event."""
    users = np.random.default_rng(0).integers(60, size=2000)
    return pd.concat([two_tastes(), events(users, 1000 + np.arange(2000), 5.0)]).sample(frac=1.0, random_state=0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_ratings, "no event has a value: each counts by its type alone"),
        (one_moment, "all events are of one moment"),
        (one_event_a_user, "300 of 300 users have one event"),
        (every_user_the_same, "every user has every item: there is no taste to learn"),
        (one_very_active_user, "user '999' has 89% of all events"),
        (one_item_with_half_of_all, "item '0' has 51% of all events"),
        (items_with_one_event, "2,000 of 2,040 items have one event"),
    ],
)
def test_what_the_data_cannot_teach_is_said(with_store: Settings, make: object, said: str) -> None:
    frame = make()  # type: ignore[operator]
    frame = frame.assign(timestamp_ms=frame["timestamp_ms"].to_numpy() + 1_000_000_000_000)
    write_interactions(with_store, frame)
    lines = Lines()
    result = retrain(with_store, RetrainOptions(fixed=FIXED), lines)
    assert any(said in line for line in lines), lines
    bundle = load_bundle(result.path)
    assert np.isfinite(bundle.item_factors).all()
    assert result.verdict.promote
    assert all(np.isfinite(value) for value in result.metrics.values())


def test_data_that_teaches_something_is_not_talked_down(settings: Settings) -> None:
    write_interactions(settings, two_tastes())
    assert len(describe_data(load_training_data(settings, Erasures({})))) == 1


def test_data_without_order_is_split_at_random(with_store: Settings) -> None:
    write_interactions(with_store, two_tastes(), time_trusted=False)
    lines = Lines()
    result = retrain(with_store, RetrainOptions(fixed=FIXED), lines)
    assert any("every split is random" in line for line in lines), lines
    assert result.metrics["evaluated_users"] > 0


@pytest.mark.parametrize(("column", "what"), [("user_id", "1 user"), ("item_id", "1 item")])
def test_one_user_or_one_item_is_too_little(with_store: Settings, column: str, what: str) -> None:
    with pytest.raises(DataError, match=f"{what} with events; a model needs at least 2"):
        train(with_store, two_tastes().assign(**{column: "1"}).drop_duplicates(["user_id", "item_id"]))


def test_repeated_rows_change_nothing(settings: Settings) -> None:
    bundles = []
    for frame in (two_tastes(), pd.concat([two_tastes(), two_tastes().iloc[::2]], ignore_index=True)):
        write_interactions(settings, frame)
        bundles.append(load_bundle(fit_bundle(load_training_data(settings, Erasures({})), settings, FIXED, 1, {})))
    one, two = bundles
    for name in ("item_factors", "user_factors", "item_counts", "item_last_ms"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))

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
from models.bundle.reading import load_bundle
from models.factors.als import AlsParameters
from tests.jobs.job_data import two_tastes, write_interactions

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

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.settings import Settings
from data.dataset import DataError
from data.event_log import EventLog
from data.log_tables import SCHEMAS
from features.users.erasure import Erasures, keyed_digest, plain_digest
from jobs.train.fit_bundle import cutoff, evaluate_latest
from jobs.train.load_data import load_training_data
from jobs.train.retrain_report import describe_data, describe_metrics
from models.factors.als import AlsParameters
from models.training.training_data import TrainingData
from tests.jobs.job_data import SECOND, two_tastes, write_interactions

NOBODY = Erasures({})


def log_events(settings: Settings, rows: list[tuple[str, str, str, float | None]]) -> None:
    records = [
        {
            "event_id": f"e{number}",
            "user_id": user,
            "item_id": item,
            "event_type": event_type,
            "value": value,
            "timestamp_ms": 10_000_000 + number,
            "received_ms": 10_000_000 + number,
            "stream_id": f"{number + 1}-0",
            "partition": 0,
        }
        for number, (user, item, event_type, value) in enumerate(rows)
    ]
    EventLog(settings.log_dir).write_part("events", 0, pa.Table.from_pylist(records, SCHEMAS["events"]))


def weight(data: TrainingData, user: str, item: str) -> float:
    interest = data.interest("preference")
    [row] = np.flatnonzero(
        (interest.users == data.users.encode([user])) & (interest.items == data.items.encode([item]))
    )
    return float(interest.weights[row])


def test_without_a_log_it_is_the_data_set(settings: Settings) -> None:
    data = load_training_data(settings, NOBODY)
    assert (len(data), len(data.users), len(data.items), data.log_events) == (60 * 17, 60, 40, 0)
    assert data.users.ids.tolist() == [str(user) for user in range(60)]
    assert set(np.unique(data.codes)) == {data.types["rating"].code}


def test_logged_events_count_with_the_rest(settings: Settings) -> None:
    before = load_training_data(settings, NOBODY)
    log_events(settings, [("0", "new", "purchase", None), ("999", "0", "like", None), ("0", "new", "dislike", None)])
    data = load_training_data(settings, NOBODY)
    assert data.log_events == 3
    assert len(data) == len(before) + 3
    assert "new" in data.items.ids.tolist()
    assert weight(data, "999", "0") == 1.0
    assert weight(data, "0", "new") == 0.0  # the dislike came last
    assert data.fingerprint != before.fingerprint


def test_events_of_unknown_type_are_left_out_and_counted(settings: Settings) -> None:
    log_events(settings, [("0", "1", "teleport", None), ("0", "1", "click", None)])
    data = load_training_data(settings, NOBODY)
    assert data.unknown_types == {"teleport": 1}
    assert data.log_events == 1


def test_a_user_who_asked_to_be_forgotten_is_not_learnt_again(settings: Settings) -> None:
    before = load_training_data(settings, NOBODY)
    data = load_training_data(settings, Erasures({keyed_digest("7", b"secret"): 1, plain_digest("8"): 1}, b"secret"))
    assert not {"7", "8"} & set(data.users.ids.tolist())
    assert len(data) == len(before) - 2 * 17
    assert data.fingerprint != before.fingerprint


@pytest.mark.parametrize(("users", "items", "message"), [(1, 40, "1 user with"), (60, 1, "1 item with")])
def test_too_little_data_is_named(settings: Settings, users: int, items: int, message: str) -> None:
    frame = two_tastes()
    few = frame[(frame["user_id"].astype(int) < users) & (frame["item_id"].astype(int) < items)]
    write_interactions(settings, few)
    with pytest.raises(DataError, match=message):
        load_training_data(settings, NOBODY)


def test_no_data_is_named(settings: Settings) -> None:
    empty = settings.model_copy(update={"data_dir": settings.data_dir / "none"})
    with pytest.raises(DataError, match="no data set here yet"):
        load_training_data(empty, NOBODY)


def test_rows_keep_the_vocabularies(settings: Settings) -> None:
    data = load_training_data(settings, NOBODY)
    part = data.rows(np.array([3, 1]))
    assert len(part) == 2
    assert part.users is data.users
    pd.testing.assert_series_equal(pd.Series(part.times_ms), pd.Series([3000, 1000]))


def test_simulated_events_are_left_out_unless_asked_for(settings: Settings) -> None:
    log_events(settings, [("0", "new", "purchase", None)])
    schema = SCHEMAS["events"]
    (part,) = EventLog(settings.log_dir).parts("events")
    rows = pq.read_table(part.path, partitioning=None).to_pylist()
    simulated = [{**row, "event_id": f"s{n}", "stream_id": f"9{n}-0", "simulated": True} for n, row in enumerate(rows)]
    EventLog(settings.log_dir).write_part("events", 0, pa.Table.from_pylist(simulated, schema))
    plain = load_training_data(settings, Erasures({}))
    asked = settings.model_copy(update={"training": settings.training.model_copy(update={"simulated": True})})
    both = load_training_data(asked, Erasures({}))
    assert (len(both) - len(plain), both.log_events, plain.log_events) == (1, 2, 1)
    # What is said adds up: the events of the data set and those of the log that are used.
    imported = 60 * 17
    assert (len(plain), len(both)) == (imported + plain.log_events, imported + both.log_events)
    assert "1,021 events" in describe_data(plain)[0]
    assert describe_data(plain)[0].endswith("1 of them from the event log; left out: 1 simulated events")
    assert describe_data(both)[0].endswith("2 of them from the event log")


def test_times_that_cannot_be_trusted_split_nothing(settings: Settings) -> None:
    """Regression: rows sorted by user stood for time, so the latest tenth was the whole history of a few users."""
    frame = two_tastes().sort_values("user_id", kind="stable").reset_index(drop=True)
    frame["timestamp_ms"] = np.arange(len(frame)) * SECOND
    write_interactions(settings, frame, time_trusted=False)
    data = load_training_data(settings, NOBODY)
    assert not data.time_trusted
    assert set(data.times_ms.tolist()) == {frame["timestamp_ms"].max()}, "nothing is older than anything else"
    earlier = data.before(0.9)
    assert len(np.unique(data.user[earlier])) == len(data.users), "a window of time is no user's whole history"
    split = cutoff(data, seed=3)
    per_user = np.bincount(data.user[split.test], minlength=len(data.users))
    assert (per_user == round(0.1 * 17)).all()
    metrics = evaluate_latest(data, settings, AlsParameters(factors=8), seed=3)
    assert metrics["evaluated_users"] > 40
    assert "a random tenth of each user's events" in describe_metrics(metrics, data.time_trusted)
    trusted = replace(data, time_trusted=True)
    assert describe_metrics(evaluate_latest(trusted, settings, AlsParameters(factors=8), seed=3)).startswith("latest")

"""A sequence model in the protocols, on data where the order says everything."""

import numpy as np
import pandas as pd
import pytest

from configs.event_types import load_event_types
from configs.settings import Settings
from data.dataset import load_dataset, processed_dir
from models.evaluation.contenders import Contender, ProtocolData, open_bench
from models.evaluation.leave_one_out import leave_one_out
from models.evaluation.prequential import prequential
from models.evaluation.served import SEQUENCE
from models.factors.als import AlsParameters
from models.training.training_data import training_data_of
from tests.jobs.job_data import SECOND, write_interactions
from tests.models.sequence.chains import SMALL, chains

N_ITEMS = 24
QUICK = AlsParameters(factors=4, regularization=5.0, alpha=4.0, iterations=2)


@pytest.fixture
def bench(settings: Settings) -> ProtocolData:
    """60 users walk along 24 items, each from another one, all at the same pace."""
    pytest.importorskip("jax", reason="the extra `sequence` is not installed")
    items = chains(60, N_ITEMS).items.reshape(60, 9)
    rows = [(str(u), str(item), step * 60 + u) for u in range(60) for step, item in enumerate(items[u].tolist())]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp_ms"])
    frame = frame.assign(event_type="rating", value=5.0, timestamp_ms=frame["timestamp_ms"] * SECOND)
    write_interactions(settings, frame.sort_values("timestamp_ms"))
    dataset = load_dataset(processed_dir(settings))
    data = training_data_of(dataset.interactions, load_event_types("movies"), "chains", ("int", "int"), 0, {}, "")
    fixed = dict.fromkeys(("P4", "P7"), QUICK)
    found = open_bench(dataset, data, "consumption", False, fixed=fixed)
    return ProtocolData(**{**vars(found), "sequence": SMALL})


def arms_of(found: list[Contender]) -> dict[str, Contender]:
    return {arm.name: arm for arm in found}


def test_leave_one_out_asks_for_the_latest_event_of_each_user(bench: ProtocolData) -> None:
    lines: list[str] = []
    arms = arms_of(leave_one_out(bench, lines.append))
    assert {"popularity", "ALS", "EASE", SEQUENCE} <= set(arms)
    assert arms[SEQUENCE].relevant.nnz == 60
    assert arms[SEQUENCE].activity.tolist() == [8] * 60
    np.testing.assert_array_equal(arms[SEQUENCE].metrics.recall, arms[SEQUENCE].metrics.hit_rate)
    assert np.nanmean(arms[SEQUENCE].metrics.ndcg) > 0.9
    assert np.nanmean(arms["popularity"].metrics.ndcg) < 0.6
    assert any(SEQUENCE in line for line in lines)


def test_the_replay_asks_it_too(bench: ProtocolData) -> None:
    arms = arms_of(prequential(bench, lambda line: None))
    assert np.nanmean(arms[SEQUENCE].metrics.ndcg) > 0.9
    assert len(arms[SEQUENCE].metrics.ndcg) == len(arms["ALS with fold-in"].metrics.ndcg) == 108

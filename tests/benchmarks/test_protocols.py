import numpy as np
import pytest

from configs.event_types import load_event_types
from data.dataset import Dataset
from data.splits import fingerprint, rolling_windows
from models.evaluation.contenders import ProtocolData, open_bench
from models.evaluation.new_users import new_users
from models.evaluation.prequential import replay_requests, replay_rows
from models.evaluation.protocols import MOVIELENS_PARAMETERS
from models.training.past_requests import window_requests
from models.training.training_data import training_data_of


@pytest.fixture(scope="module")
def bench(movielens: Dataset) -> ProtocolData:
    data = training_data_of(movielens.interactions, load_event_types(), "ml", ("int", "int"), 0, {}, "")
    return open_bench(movielens, data, "consumption", ranker=False, fixed=MOVIELENS_PARAMETERS)


def test_new_users_reach_the_targets(bench: ProtocolData) -> None:
    arms = {(arm.protocol, arm.name): float(arm.metrics.ndcg.mean()) for arm in new_users(bench, lambda line: None)}
    for k, target in ((1, 0.43), (5, 0.51), (20, 0.66)):
        assert arms[f"P3 k={k}", "fold-in with prior"] >= target
    assert arms["P3 k=1", "fold-in with prior"] > arms["P3 k=1", "popularity"] > arms["P3 k=1", "plain fold-in"]
    assert arms["P3 k=0", "popularity"] == pytest.approx(0.423, abs=0.005)


def test_the_users_of_the_rolling_windows_are_those_of_the_protocol(bench: ProtocolData) -> None:
    data = bench.data
    found = {"warm": 0, "session": 0}
    for split in rolling_windows(data.times_ms, data.user, data.item):
        known = np.bincount(data.item[split.train], minlength=len(data.items)) > 0
        for name, context in (("warm", 0), ("session", 10)):
            requests = window_requests(data, split.train, split.test, (context,), {10: 15}, known, "consumption")
            found[name] += len(requests)
    assert found == {"warm": 346, "session": 458}


def test_the_replay_is_that_of_the_protocol(bench: ProtocolData) -> None:
    replay, data = replay_rows(bench), bench.data
    user, item = data.users.ids[data.user[replay.events]], data.items.ids[data.item[replay.events]]
    assert fingerprint(user.astype(int), item.astype(int), ordered=True).startswith("b3a1729a509d0a13")
    known = np.bincount(data.item[replay.train], minlength=len(data.items)) > 0
    requests = replay_requests(bench, replay, known)
    assert len(requests) == 19_798
    for place in (0, 5_000, 19_797):  # nothing of the request's own event or of later ones is in its history
        row = replay.events[requests.visible[place] - 80_000]
        assert row not in requests.rows[place]
        assert (data.times_ms[requests.rows[place]] <= requests.at_ms[place]).all()
        assert requests.relevant[place].indices.tolist() == [data.item[row]]

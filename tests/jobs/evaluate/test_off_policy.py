"""Estimates from a log whose policies' values are known."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from configs.event_types import load_event_types
from data.dataset import DataError
from data.event_log import EventLog
from data.log_tables import SCHEMAS
from experiments.attribution import CLICK, ENGAGE
from jobs.evaluate.off_policy import evaluate, mean_of_others, read_lists, target_probability

SHARE, POOL = 0.2, 10
GREEDY, DRAWN = 1 - SHARE + SHARE / POOL, SHARE / POOL


def logged(folder: Path, n: int, greedy_rate: float, drawn_rate: float, simulated: bool = True) -> EventLog:
    """n lists of n / 4 users; the last place is taken up with a chance that depends on how it was filled."""
    rng = np.random.default_rng(3)
    lists, events = [], []
    for number in range(n):
        drawn = rng.random() >= GREEDY
        user, item = f"u{number % (n // 4)}", "drawn" if drawn else "ranked"
        common = {"user_id": user, "partition": 0, "stream_id": f"{number + 1}-0", "recommendation_id": f"r{number}"}
        shown = {"time_ms": number, "item_ids": ["first", item], "propensities": [1.0, DRAWN if drawn else GREEDY]}
        lists.append({**common, **shown, "simulated": simulated, "before": number % 7})
        event = {**common, "event_id": f"e{number}", "timestamp_ms": number, "received_ms": number, "item_id": item}
        if rng.random() < (drawn_rate if drawn else greedy_rate):
            events.append({**event, "event_type": "click", "value": None})
        else:  # of another place, or a refusal: no reward
            other = {"event_type": "rating", "value": 1.0} if number % 2 else {"event_type": "like", "item_id": "first"}
            events.append({**event, "value": None, **other})
    log = EventLog(folder)
    log.write_part("exposures", 0, pa.Table.from_pylist(lists, SCHEMAS["exposures"]))
    log.write_part("events", 0, pa.Table.from_pylist(events, SCHEMAS["events"]))
    return log


def test_each_policys_value_is_within_its_interval(tmp_path: Path) -> None:
    lists = read_lists(logged(tmp_path, 8_000, 0.3, 0.1), load_event_types(), CLICK, simulated=True)
    uniform = (0.3 + (POOL - 1) * 0.1) / POOL
    for policy, truth in (("greedy", 0.3), ("uniform", uniform), ("logged", GREEDY * 0.3 + (1 - GREEDY) * 0.1)):
        found = evaluate(lists, policy, SHARE)
        for estimate in (found.ips, found.snips, found.doubly_robust):
            assert estimate.interval is not None
            assert estimate.interval[0] < truth < estimate.interval[1], policy
        assert found.users == 2_000
        assert found.mean_weight == pytest.approx(1.0, abs=0.1)
    plain = evaluate(lists, "logged", SHARE)
    assert plain.ips.value == lists.reward.mean()
    assert plain.effective_sample_size == 8_000


def test_what_is_no_reward_does_not_count(tmp_path: Path) -> None:
    log = logged(tmp_path, 400, 0.0, 0.0)
    assert read_lists(log, load_event_types(), CLICK, simulated=True).reward.sum() == 0
    assert (
        read_lists(logged(tmp_path / "b", 400, 1.0, 1.0), load_event_types(), ENGAGE, simulated=True).reward.sum() == 0
    )


def test_simulated_and_real_lists_are_never_mixed_and_none_is_said(tmp_path: Path) -> None:
    log = logged(tmp_path, 40, 0.5, 0.5)
    with pytest.raises(DataError, match="no list of real users that was drawn"):
        read_lists(log, load_event_types(), CLICK, simulated=False)


def test_a_list_that_its_caller_forced_counts_nowhere(tmp_path: Path) -> None:
    log = logged(tmp_path, 40, 0.5, 0.5)
    [part] = log.parts("exposures")
    rows = [{**row, "forced": number < 15} for number, (_, row) in enumerate(log.part_rows(part, (0, 0)))]
    log.write_part("exposures", 0, pa.Table.from_pylist(rows, SCHEMAS["exposures"]))
    lists = read_lists(log, load_event_types(), CLICK, simulated=True)
    assert sorted(lists.times_ms.tolist()) == list(range(15, 40))


def test_a_share_that_does_not_fit_the_log_is_refused() -> None:
    assert target_probability(np.array([GREEDY, DRAWN]), "uniform", SHARE) == pytest.approx([1 / POOL, 1 / POOL])
    for share in (0.0001, 0.9):
        with pytest.raises(ValueError, match="share: the logged propensities"):
            target_probability(np.array([GREEDY, DRAWN]), "uniform", share)


def test_no_reward_predicts_itself(tmp_path: Path) -> None:
    lists = read_lists(logged(tmp_path, 400, 0.5, 0.5), load_event_types(), CLICK, simulated=True)
    before = mean_of_others(lists)
    first = lists.users == lists.users[0]
    lists.reward[first] = 1 - lists.reward[first]
    assert (mean_of_others(lists)[first] == before[first]).all()

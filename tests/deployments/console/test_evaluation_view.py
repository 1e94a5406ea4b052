"""The latest evaluation, as the console reads it from the state folder."""

import json
import os
from pathlib import Path
from typing import Any

from deployments.console.evaluation_view import latest_evaluation

INTERVAL = {"mean": 0.3, "low": 0.2, "high": 0.4}
ARM = {
    "protocol": "P1", "name": "ALS", "users": 9, "ndcg_at_10": INTERVAL, "map_at_10": INTERVAL,
    "recall_at_10": INTERVAL, "hit_rate_at_10": INTERVAL, "coverage": 0.5,
}  # fmt: skip


def put(path: Path, report: dict[str, Any] | str, age_s: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report if isinstance(report, str) else json.dumps(report))
    os.utime(path, (2_000_000_000 - age_s, 2_000_000_000 - age_s))


def test_without_a_report_there_is_none(tmp_path: Path) -> None:
    found = latest_evaluation(tmp_path)
    assert (found.report, found.problem) == (None, None)


def test_the_newest_report_is_read_and_those_of_an_earlier_release_too(tmp_path: Path) -> None:
    """An earlier release told neither when it measured nor segments, and wrote a folder for each weighting."""
    old = {"data": "ml-100k", "weighting": "preference", "note": None, "arms": [ARM], "comparisons": [], "seconds": 1.0}
    put(tmp_path / "evaluation" / "preference" / "evaluation.json", old, age_s=10)
    found = latest_evaluation(tmp_path).report
    assert found is not None
    assert (found.data, found.measured_ms, found.skipped) == ("ml-100k", 1_999_999_990_000, {})
    assert (found.arms[0].segments, found.arms[0].calibration, found.arms[0].cpu_s) == ({}, None, None)
    arm = ARM | {
        "segments": {"head items": INTERVAL | {"users": 4.0}},
        "calibration": {},
        "cpu_s": 1.5,
        "tail_share": None,
    }
    new = old | {"data": "orders", "arms": [arm], "measured_ms": 5, "skipped": {"P5": "no user has an item twice"}}
    put(tmp_path / "evaluation" / "evaluation.json", new, age_s=5)
    found = latest_evaluation(tmp_path).report
    assert found is not None
    assert (found.data, found.measured_ms) == ("orders", 5)
    assert found.arms[0].segments["head items"].users == 4


def test_a_damaged_report_is_told_of(tmp_path: Path) -> None:
    put(tmp_path / "evaluation" / "evaluation.json", '{"data": "x"', age_s=0)
    found = latest_evaluation(tmp_path)
    assert found.report is None
    assert found.problem == "the latest report is damaged; evaluate again"

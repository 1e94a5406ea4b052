"""An evaluation as a table, as JSON and as a page with plots. Every number has its interval.

MAP@10 is given with its definition, since several are in use.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jobs.evaluate.evaluation_plots import write_page, write_picture
from models.evaluation.contenders import Contender
from models.evaluation.metrics import bootstrap_interval, coverage
from models.evaluation.new_items import DEPTH, DEPTH_AMONG_NEW, NewItemsArm
from models.evaluation.segments import by_segment, calibration, tail_share
from models.evaluation.served import SEQUENCE, SERVED

_METRICS = {
    "map_at_10": "map_at_k",
    "map_k_at_10": "map_k_at_k",
    "ndcg_at_10": "ndcg",
    "precision_at_10": "precision",
    "recall_at_10": "recall",
    "hit_rate_at_10": "hit_rate",
}
# NDCG@10 (P1 also MAP@10 over |relevant|) published or measured before for this protocol, under "consumption".
References = Mapping[tuple[str, str], dict[str, float]]
REFERENCES: References = {
    ("P1", "BiVAE (published)"): {"map_at_10": 0.1461, "ndcg_at_10": 0.4751},
    ("P1", "popularity"): {"map_at_10": 0.0560, "ndcg_at_10": 0.2524},
    ("P1", "item-kNN cosine"): {"map_at_10": 0.129, "ndcg_at_10": 0.432},
    ("P1", "item-kNN BM25"): {"map_at_10": 0.132, "ndcg_at_10": 0.442},
    ("P1", "EASE"): {"map_at_10": 0.1494, "ndcg_at_10": 0.4842},
    ("P1", "ALS"): {"map_at_10": 0.1541, "ndcg_at_10": 0.4930},
    ("P1", "ALS + ranker"): {"map_at_10": 0.1579, "ndcg_at_10": 0.4981},
    ("P4 simulated", "popularity"): {"ndcg_at_10": 0.0350, "hit_rate_at_10": 0.0750},
    ("P4 simulated", "ALS, users frozen"): {"ndcg_at_10": 0.0358, "hit_rate_at_10": 0.0758},
    ("P4 simulated", "recent popularity"): {"ndcg_at_10": 0.0399, "hit_rate_at_10": 0.0786},
    ("P4 simulated", "ALS with fold-in"): {"ndcg_at_10": 0.0730, "hit_rate_at_10": 0.1461},
    ("P4 simulated", "ALS with fold-in + ranker"): {"ndcg_at_10": 0.1005, "hit_rate_at_10": 0.196},
    ("P2 warm", "popularity"): {"ndcg_at_10": 0.1248},
    ("P2 warm", "recent popularity"): {"ndcg_at_10": 0.1777},
    ("P2 warm", "ALS"): {"ndcg_at_10": 0.1550},
    ("P2 warm", "EASE"): {"ndcg_at_10": 0.1511},
    ("P2 warm", "ALS + ranker"): {"ndcg_at_10": 0.2006},
    ("P2 session", "popularity"): {"ndcg_at_10": 0.3331},
    ("P2 session", "recent popularity"): {"ndcg_at_10": 0.2962},
    ("P2 session", "ALS"): {"ndcg_at_10": 0.3296},
    ("P2 session", "EASE"): {"ndcg_at_10": 0.3376},
    ("P2 session", "ALS + ranker"): {"ndcg_at_10": 0.4196},
    **{
        (f"P3 k={k}", name): {"ndcg_at_10": value}
        for name, values in {
            "popularity": (0.423, 0.425, 0.432, 0.436, 0.450, 0.476),
            "plain fold-in": (None, 0.358, 0.455, 0.510, 0.584, 0.679),
            "fold-in with prior": (None, 0.444, 0.492, 0.523, 0.584, 0.676),
        }.items()
        for k, value in zip((0, 1, 3, 5, 10, 20), values, strict=True)
        if value is not None
    },
}
_OURS = ("ALS + ranker with attributes", "ALS + ranker", "ALS with fold-in + ranker", "fold-in with prior", "ALS")
"""What is served, the best of it first: compared with the best baseline of each protocol."""
_NOT_BASELINES = {*_OURS, SERVED, SEQUENCE, "ALS with fold-in", "ALS, users frozen", "plain fold-in"}
_PAIRS = (
    ("ALS + ranker", "ALS"),
    ("ALS + ranker with attributes", "ALS + ranker"),
    ("ALS + ranker", "recent popularity"),
    ("ALS with fold-in", "ALS, users frozen"),
    ("ALS with fold-in + ranker", "ALS with fold-in"),
    ("fold-in with prior", "popularity"),
    (SERVED, "ALS + ranker"),
    (SEQUENCE, "ALS"),
    (SEQUENCE, "EASE"),
    (SEQUENCE, "ALS with fold-in"),
)


def summarise(arms: Sequence[Contender], references: References, seed: int = 0) -> list[dict[str, Any]]:
    """One record for each arm: metrics with 95 % intervals over users, breadth, and NDCG@10 by user activity.

    Args:
        references: numbers to stand beside those of the same protocol and name.
    """
    records = []
    for arm in arms:
        record: dict[str, Any] = {"protocol": arm.protocol, "name": arm.name}
        for name, attribute in _METRICS.items():
            interval = bootstrap_interval(getattr(arm.metrics, attribute), seed)
            record[name] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
        record["users"] = int(np.isfinite(arm.metrics.ndcg).sum())
        record["coverage"] = coverage(arm.recommended, int((arm.counts > 0).sum()))
        record["diversity"] = list_difference(arm.recommended)
        record["novelty_bits"] = novelty(arm.recommended, arm.counts, arm.n_train_users)
        record["tail_share"] = tail_share(arm)
        record["ndcg_by_activity"] = by_activity(arm.activity, arm.metrics.ndcg)
        record["segments"] = by_segment(arm, seed)
        record["calibration"] = calibration(arm, seed)
        record["cpu_s"] = round(arm.cpu_s, 2)
        record["reference"] = references.get((arm.protocol, arm.name), {})
        records.append(record)
    return records


def tracked_metrics(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """MAP@10 and NDCG@10 of each arm, under names that MLflow takes."""
    found = {}
    for record in records:
        for name in ("map_at_10", "ndcg_at_10"):
            text = f"{record['protocol']} {record['name']} {name}".replace("=", " ").replace("+", "and")
            found[re.sub(r"[^A-Za-z0-9_.:/ -]", "", text)] = float(record[name]["mean"])
    return found


def compare(arms: Sequence[Contender], seed: int = 0) -> list[dict[str, Any]]:
    """Paired differences in NDCG@10, with 95 % intervals over users: of ours over the best baseline, and others."""
    found = {(arm.protocol, arm.name): arm for arm in arms}
    records = []
    for protocol in dict.fromkeys(arm.protocol for arm in arms):
        mine = {arm.name: float(np.nanmean(arm.metrics.ndcg)) for arm in arms if arm.protocol == protocol}
        pairs = list(_PAIRS)
        ours = next((name for name in _OURS if name in mine), None)
        best = max((name for name in mine if name not in _NOT_BASELINES), key=mine.__getitem__, default=None)
        if best is not None:
            pairs += [(one, best) for one in (ours, SERVED) if one is not None and (one, best) not in pairs]
        for left, right in pairs:
            if (protocol, left) in found and (protocol, right) in found:
                difference = found[protocol, left].metrics.ndcg - found[protocol, right].metrics.ndcg
                interval = bootstrap_interval(difference, seed)
                records.append(
                    {
                        "protocol": protocol,
                        "of": left,
                        "over": right,
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                    }
                )
    return records


def list_difference(recommended: np.ndarray) -> float:
    """Mean share of a user's list that is not on another user's: 0 where all get the same, 1 where nothing is shared.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma", PNAS 2010; exact over all pairs of users.
    """
    n = len(recommended)
    if n < 2:
        return float("nan")
    times = np.bincount(recommended[recommended >= 0]).astype(np.float64)
    shared = (times * (times - 1)).sum() / (n * (n - 1))
    return float(1 - shared / recommended.shape[1])


def novelty(recommended: np.ndarray, counts: np.ndarray, n_users: int) -> float:
    """Mean of -log2(share of the users who have the item), in bits, over all that was recommended."""
    shown = counts[recommended[recommended >= 0]]
    return float(-np.log2(shown[shown > 0] / n_users).mean()) if (shown > 0).any() else float("nan")


def by_activity(activity: np.ndarray, ndcg: np.ndarray) -> dict[str, float]:
    """NDCG@10 by thirds of the users, from the least to the most active; empty where all are alike."""
    defined = np.isfinite(ndcg)
    activity, ndcg = activity[defined], ndcg[defined]
    if len(np.unique(activity)) < 3:
        return {}
    low, high = np.quantile(activity, [1 / 3, 2 / 3])
    groups = {
        f"up to {low:.0f} events": activity <= low,
        f"up to {high:.0f} events": (activity > low) & (activity <= high),
        "more": activity > high,
    }
    return {name: float(ndcg[members].mean()) for name, members in groups.items() if members.any()}


def table(records: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]]) -> str:
    """The records as a table of text for people. MAP@10 is over |relevant|, the published benchmark's definition."""
    lines = [
        f"{'protocol':12} {'model':28} {'users':>5}  {'MAP@10 over |relevant|':24} {'NDCG@10':24} {'reference':>13} "
        f"{'HR@10':>6} {'prec':>6} {'recall':>6} {'cover':>6} {'tail':>6} {'divers':>6} {'novel':>6} {'CPU s':>7}"
    ]
    for record in records:
        cells = ["{mean:.4f} [{low:.4f}, {high:.4f}]".format(**record[name]) for name in ("map_at_10", "ndcg_at_10")]
        reference = record["reference"]
        known = " / ".join(f"{reference[name]:.4f}" for name in ("map_at_10", "ndcg_at_10") if name in reference)
        lines.append(
            f"{record['protocol']:12} {record['name']:28} {record['users']:5}  {cells[0]:24} {cells[1]:24} {known:>13} "
            f"{record['hit_rate_at_10']['mean']:6.4f} {record['precision_at_10']['mean']:6.3f} "
            f"{record['recall_at_10']['mean']:6.3f} {record['coverage']:6.3f} "
            f"{record['tail_share']:6.3f} {record['diversity']:6.3f} {record['novelty_bits']:6.2f} "
            f"{record['cpu_s']:7.1f}"
        )
    lines += _segment_lines(records)
    lines += [
        f"{one['protocol']:12} {one['of']} over {one['over']}: NDCG@10 {one['mean']:+.4f} "
        f"[{one['low']:+.4f}, {one['high']:+.4f}], paired"
        for one in comparisons
    ]
    return "\n".join(lines)


def _segment_lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """NDCG@10 by segment of what is ours, and how far its scores are from chances."""
    lines = []
    for protocol in dict.fromkeys(record["protocol"] for record in records):
        mine = {record["name"]: record for record in records if record["protocol"] == protocol}
        ours = next((mine[name] for name in _OURS if name in mine), None)
        if ours is None:
            continue
        parts = [f"{name} {one['mean']:.4f} (n = {one['users']:.0f})" for name, one in ours["segments"].items()]
        if ours["calibration"]:
            parts.append(f"calibration error {ours['calibration']['error']:.4f}")
        lines.append(f"{protocol:12} {ours['name']}, NDCG@10 by segment: {'; '.join(parts)}")
    return lines


def summarise_new_items(arms: Sequence[NewItemsArm], seed: int = 0) -> list[dict[str, Any]]:
    """One record for each arm of P6, with 95 % intervals over users."""
    records = []
    for arm in arms:
        record: dict[str, Any] = {"name": arm.name, "share_of_lists": arm.share}
        for name, values in (
            (f"recall_at_{DEPTH}", arm.recall),
            (f"recall_at_{DEPTH_AMONG_NEW}_among_new", arm.among_new),
        ):
            interval = bootstrap_interval(values, seed)
            record[name] = {"mean": interval.mean, "low": interval.low, "high": interval.high, "users": interval.n}
        records.append(record)
    return records


def new_items_table(records: Sequence[dict[str, Any]]) -> str:
    """P6 as a table of text; empty where it was not asked."""
    names = (f"recall_at_{DEPTH}", f"recall_at_{DEPTH_AMONG_NEW}_among_new")
    lines = [f"P6 {'':25} recall@{DEPTH} of new items    recall@{DEPTH_AMONG_NEW} among the new   new in lists"]
    for record in records:
        shown = ["{mean:.4f} [{low:.4f}, {high:.4f}]".format(**record[name]) for name in names]
        lines.append(f"P6 {record['name']:25} {shown[0]}   {shown[1]}   {record['share_of_lists']:.3f}")
    return "\n".join(lines) + "\n" if records else ""


def write_report(directory: Path, report: dict[str, Any]) -> tuple[Path, Path, Path]:
    """`evaluation.json`, `evaluation.html` (which needs no network) and `evaluation.png`."""
    directory.mkdir(parents=True, exist_ok=True)
    data, page, picture = (directory / f"evaluation.{end}" for end in ("json", "html", "png"))
    write_page(page, report)
    write_picture(picture, report)
    # The description last, and whole: whoever reads the folder meanwhile finds the report of before.
    partial = directory / ".evaluation.json.partial"
    partial.write_text(json.dumps(_plain(report), indent=2, allow_nan=False, default=str) + "\n")
    partial.replace(data)
    return data, page, picture


def _plain(value: Any) -> Any:
    """The same with None for what is undefined: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value

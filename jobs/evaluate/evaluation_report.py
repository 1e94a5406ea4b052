"""An evaluation as a table, as JSON and as a page with plots. Every number has its interval.

MAP@10 is given with its definition, since several are in use.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation.metrics import bootstrap_interval, coverage
from models.evaluation.protocols import Contender

K = 10
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
    ("P1", "item-kNN"): {"map_at_10": 0.129, "ndcg_at_10": 0.432},
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
_PAIRS = (
    ("ALS + ranker", "ALS"),
    ("ALS + ranker with attributes", "ALS + ranker"),
    ("ALS + ranker", "recent popularity"),
    ("ALS with fold-in", "ALS, users frozen"),
    ("ALS with fold-in + ranker", "ALS with fold-in"),
    ("fold-in with prior", "popularity"),
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
        record["ndcg_by_activity"] = by_activity(arm.activity, arm.metrics.ndcg)
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
    """Paired differences in NDCG@10, with 95 % intervals over users."""
    found = {(arm.protocol, arm.name): arm for arm in arms}
    records = []
    for protocol in dict.fromkeys(arm.protocol for arm in arms):
        for left, right in _PAIRS:
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
        f"{'protocol':12} {'model':20} {'users':>5}  {'MAP@10 over |relevant|':24} {'NDCG@10':24} {'reference':>13} "
        f"{'HR@10':>6} {'prec':>6} {'recall':>6} {'cover':>6} {'divers':>6} {'novel':>6}"
    ]
    for record in records:
        cells = ["{mean:.4f} [{low:.4f}, {high:.4f}]".format(**record[name]) for name in ("map_at_10", "ndcg_at_10")]
        reference = record["reference"]
        known = " / ".join(f"{reference[name]:.4f}" for name in ("map_at_10", "ndcg_at_10") if name in reference)
        lines.append(
            f"{record['protocol']:12} {record['name']:20} {record['users']:5}  {cells[0]:24} {cells[1]:24} {known:>13} "
            f"{record['hit_rate_at_10']['mean']:6.4f} {record['precision_at_10']['mean']:6.3f} "
            f"{record['recall_at_10']['mean']:6.3f} {record['coverage']:6.3f} "
            f"{record['diversity']:6.3f} {record['novelty_bits']:6.2f}"
        )
    lines += [
        f"{one['protocol']:12} {one['of']} over {one['over']}: NDCG@10 {one['mean']:+.4f} "
        f"[{one['low']:+.4f}, {one['high']:+.4f}], paired"
        for one in comparisons
    ]
    return "\n".join(lines)


def write_report(directory: Path, report: dict[str, Any]) -> tuple[Path, Path]:
    """`evaluation.json` and `evaluation.html` (which needs no network)."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    directory.mkdir(parents=True, exist_ok=True)
    data, page = directory / "evaluation.json", directory / "evaluation.html"
    data.write_text(json.dumps(report, indent=2, allow_nan=False, default=str) + "\n")
    protocols = list(dict.fromkeys(record["protocol"] for record in report["arms"]))
    figure = make_subplots(len(protocols), 1, subplot_titles=protocols)
    for row, protocol in enumerate(protocols, 1):
        mine = [record for record in report["arms"] if record["protocol"] == protocol]
        means = [record["ndcg_at_10"]["mean"] for record in mine]
        figure.add_trace(
            go.Bar(
                y=[record["name"] for record in mine],
                x=means,
                orientation="h",
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [r["ndcg_at_10"]["high"] - m for r, m in zip(mine, means, strict=True)],
                    "arrayminus": [m - r["ndcg_at_10"]["low"] for r, m in zip(mine, means, strict=True)],
                },
                name=protocol,
            ),
            row=row,
            col=1,
        )
    figure.update_layout(
        title="NDCG@10 with 95 % bootstrap intervals over users", height=220 * len(protocols), showlegend=False
    )
    figure.write_html(page, include_plotlyjs=True)
    return data, page

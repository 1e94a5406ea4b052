"""An evaluation as a page with plots that can be pointed at, and as a picture for documents."""

from pathlib import Path
from typing import Any

_TITLE = "NDCG@10 with 95 % bootstrap intervals over users"


def write_page(path: Path, report: dict[str, Any]) -> None:
    """Write an HTML page that needs no network."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    protocols = _by_protocol(report)
    figure = make_subplots(len(protocols), 1, subplot_titles=list(protocols))
    for row, (protocol, mine) in enumerate(protocols.items(), 1):
        means, below, above = _bars(mine)
        figure.add_trace(
            go.Bar(
                y=[record["name"] for record in mine],
                x=means,
                orientation="h",
                error_x={"type": "data", "symmetric": False, "array": above, "arrayminus": below},
                name=protocol,
            ),
            row=row,
            col=1,
        )
    figure.update_layout(title=_TITLE, height=max(220, 220 * len(protocols)), showlegend=False)
    figure.write_html(path, include_plotlyjs=True)


def write_picture(path: Path, report: dict[str, Any]) -> None:
    """Write a PNG: the models of each protocol, and beside them what their scores predict against what came of it."""
    from matplotlib.figure import Figure

    protocols = _by_protocol(report)
    heights = [0.6 + 0.28 * len(mine) for mine in protocols.values()]
    figure = Figure(figsize=(11, sum(heights) + 1), layout="constrained")
    axes = figure.subplots(len(protocols), 2, squeeze=False, height_ratios=heights, width_ratios=[3, 1])
    for (bars, curve), (protocol, mine) in zip(axes, protocols.items(), strict=True):
        means, below, above = _bars(mine)
        names = [record["name"] for record in mine]
        bars.barh(names, means, xerr=[below, above], color="#3b6ea5", ecolor="#444444", height=0.7)
        bars.invert_yaxis()
        bars.set_title(protocol, loc="left", fontsize=10)
        bars.tick_params(labelsize=8)
        known = [record for record in mine if record["calibration"]]
        for record in known:
            found = record["calibration"]
            curve.plot(found["predicted"], found["observed"], marker="o", markersize=3, label=record["name"])
        if known:
            top = max(max(record["calibration"]["predicted"]) for record in known)
            curve.plot([0, top], [0, top], color="#999999", linewidth=0.8)
            curve.set_xlabel("predicted chance of a hit", fontsize=7)
            curve.set_ylabel("observed", fontsize=7)
            curve.legend(fontsize=6)
            curve.tick_params(labelsize=7)
        else:
            curve.axis("off")
    figure.suptitle(f"{report['data']}, {report['weighting']}: {_TITLE}", fontsize=11)
    figure.savefig(path, dpi=110)


def _by_protocol(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for record in report["arms"]:
        found.setdefault(record["protocol"], []).append(record)
    if report.get("new_items"):  # has recall at 50 in place of NDCG
        found["P6, recall@50 of new items"] = [{**record, "calibration": None} for record in report["new_items"]]
    return found


def _bars(records: list[dict[str, Any]]) -> tuple[list[float], list[float], list[float]]:
    """Means, and how far the interval reaches below and above each."""
    values = [record["ndcg_at_10"] if "ndcg_at_10" in record else record["recall_at_50"] for record in records]
    return (
        [one["mean"] for one in values],
        [one["mean"] - one["low"] for one in values],
        [one["high"] - one["mean"] for one in values],
    )

"""The measurements as pages that a browser opens: self-contained, with Plotly inside."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots


def plot_serving(report: dict[str, Any], out: Path) -> None:
    """Requests per second and 99th percentile against connections, one line a kind."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=["requests per second", "p99, ms"])
    for kind in dict.fromkeys(row["kind"] for row in report["rows"]):
        rows = sorted((row for row in report["rows"] if row["kind"] == kind), key=lambda row: row["connections"])
        x = [row["connections"] for row in rows]
        for column, field in ((1, "requests_per_s"), (2, "p99_ms")):
            line = go.Scatter(x=x, y=[row[field] for row in rows], name=kind, legendgroup=kind, showlegend=column == 1)
            figure.add_trace(line, row=1, col=column)
    figure.update_xaxes(type="log", title="connections")
    figure.update_yaxes(type="log")
    _write(figure, report, out)


def plot_growth(report: dict[str, Any], out: Path) -> None:
    """One panel for each curve of `benchmarks.growth`."""
    curves = report["curves"]
    figure = make_subplots(rows=1, cols=len(curves), subplot_titles=[curve["title"] for curve in curves])
    for column, curve in enumerate(curves, start=1):
        for name, values in curve["lines"].items():
            figure.add_trace(go.Scatter(x=curve["x"], y=values, name=name), row=1, col=column)
        figure.update_xaxes(type="log", title=curve["of"], row=1, col=column)
        figure.update_yaxes(rangemode="tozero", row=1, col=column)
    _write(figure, report, out)


def _write(figure: go.Figure, report: dict[str, Any], out: Path) -> None:
    figure.update_layout(title=f"{report['machine']}; {report['command']}")
    figure.write_html(out, include_plotlyjs=True)

"""The latest report of `python -m jobs.evaluate` that the state folder keeps, as the console shows it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError, field_validator

from deployments.http.asgi_app import ERRORS

FOLDER = "evaluation"
REPORT = "evaluation.json"
MOST_BYTES = 8_000_000


class Measure(BaseModel):
    """A mean over users with its 95 % bootstrap interval."""

    mean: float | None
    low: float | None
    high: float | None
    users: float | None = Field(None, description="users behind it, where that is told")


class Calibration(BaseModel):
    """Predicted chances of a hit against what came of them, in bins of equal size."""

    predicted: list[float]
    observed: list[float]
    error: float = Field(description="mean distance between the two, over all items recommended")


class EvaluatedModel(BaseModel):
    """One model under one protocol."""

    protocol: str
    name: str
    users: int = Field(description="users, or events where each is asked about, that it was judged on")
    ndcg_at_10: Measure
    map_at_10: Measure
    recall_at_10: Measure
    hit_rate_at_10: Measure
    coverage: float | None = Field(description="share of the catalogue that was recommended to anyone")
    tail_share: float | None = Field(None, description="share of what was recommended that is no head item")
    cpu_s: float | None = Field(None, description="processor time of fit and answers")
    segments: dict[str, Measure] = Field({}, description="NDCG@10 by segment of users, and of items")
    calibration: Calibration | None = Field(None, description="null where its scores cannot be read as chances")

    @field_validator("calibration", mode="before")
    @classmethod
    def _none_for_nothing(cls, given: object) -> object:
        return given or None


class Comparison(BaseModel):
    """A paired difference in NDCG@10."""

    protocol: str
    of: str
    over: str
    mean: float
    low: float
    high: float


class NewItems(BaseModel):
    """How soon new items find their users by one way of ranking (P6)."""

    name: str
    share_of_lists: float
    recall_at_50: Measure
    recall_at_10_among_new: Measure


class EvaluationReport(BaseModel):
    """What was measured, on what, and what could not be."""

    data: str
    weighting: str
    events: int | None = None
    users: int | None = None
    items: int | None = None
    measured_ms: int | None = Field(None, description="when; that of the file where an earlier release wrote it")
    cpu_seconds: float | None = None
    skipped: dict[str, str] = Field({}, description="protocols that could not be asked of this data, and why")
    arms: list[EvaluatedModel]
    comparisons: list[Comparison]
    new_items: list[NewItems] = Field([], description="P6; empty where it was not asked")


class EvaluationView(BaseModel):
    """The latest report."""

    report: EvaluationReport | None = Field(description="null where nothing was evaluated yet, or not on this machine")
    problem: str | None = Field(description="why the latest report cannot be read")


def latest_evaluation(state_dir: Path) -> EvaluationView:
    """The newest report below the state folder; of two that one run wrote, the later one."""
    folder = state_dir / FOLDER
    found = [*folder.glob(REPORT), *folder.glob(f"*/{REPORT}")]
    try:
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            return EvaluationView(report=None, problem=None)
        if newest.stat().st_size > MOST_BYTES:
            return EvaluationView(report=None, problem=f"{newest.name} is larger than {MOST_BYTES:,} bytes")
        report = EvaluationReport.model_validate_json(newest.read_bytes())
        at_ms = report.measured_ms or int(newest.stat().st_mtime * 1000)
    except (OSError, ValidationError):
        return EvaluationView(report=None, problem="the latest report is damaged; evaluate again")
    return EvaluationView(report=report.model_copy(update={"measured_ms": at_ms}), problem=None)


def evaluation_api(state_dir: Callable[[], Path]) -> APIRouter:
    """The route. `state_dir` is called at request time."""
    api = APIRouter(tags=["models"], responses=ERRORS)

    @api.get(
        "/api/v1/models/evaluation", summary="The latest offline evaluation: models, baselines, segments, intervals"
    )
    async def evaluation() -> EvaluationView:
        return await asyncio.to_thread(latest_evaluation, state_dir())

    return api

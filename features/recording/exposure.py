"""An exposure: a list that was shown to a user."""

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Exposure:
    """What was shown, in which order, by which model; times are ms since the epoch."""

    recommendation_id: str
    user_id: str
    time_ms: int
    model_version: str | None
    variant: str | None
    experiment: str | None
    item_ids: tuple[str, ...]
    """The items in the order shown."""
    propensities: tuple[float, ...] | None = None
    """Probability with which each item was put at its place; None where the list was not drawn."""
    scores: tuple[float, ...] | None = None
    context: dict[str, Any] | None = None
    simulated: bool = False
    forced: bool = False
    """The variant was chosen by hand, for a test: no evidence, and not counted."""
    before: int = 0
    """How many events the user had when the list was made; experiments use it as their covariate."""


def pack_exposure(exposure: Exposure) -> bytes:
    """Canonical JSON; `user_id` comes first, as in `features.recording.event.pack_event`."""
    return orjson.dumps(
        {
            "user_id": exposure.user_id,
            "recommendation_id": exposure.recommendation_id,
            "time_ms": exposure.time_ms,
            "model_version": exposure.model_version,
            "variant": exposure.variant,
            "experiment": exposure.experiment,
            "item_ids": exposure.item_ids,
            "propensities": exposure.propensities,
            "scores": exposure.scores,
            "context": exposure.context,
            "simulated": exposure.simulated,
            "forced": exposure.forced,
            "before": exposure.before,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )

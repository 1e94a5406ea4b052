"""How long things are kept, and how large they may become: what `features.lifecycle` says of each in words."""

from pydantic import BaseModel, ConfigDict, Field

MB = 1_000_000
GB = 1_000_000_000


class Keeping(BaseModel):
    """When the streams are compacted, and the budgets of what is kept, in bytes. See docs/operations.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compact_every_h: float = Field(
        6.0, ge=0, description="the streams go to the log when their oldest entry is this old; 0: only by their size"
    )
    compact_share: float = Field(
        0.5, gt=0, le=1, description="they also go when they use this share of their bytes or of store.max_exposures"
    )
    warn_share: float = Field(0.8, gt=0, le=1, description="share of a budget at which an alert says so")
    measure_s: float = Field(60.0, gt=0, description="time between two measurements of what is used")
    quality_days: int = Field(14, ge=2, le=40, description="days of live quality that are kept")
    streams_bytes: int = Field(
        256 * MB, gt=0, description="events and exposures that wait; at most a quarter of the store's maxmemory"
    )
    users_bytes: int = Field(1 * GB, gt=0, description="features, histories and experiment totals of users")
    ledgers_bytes: int = Field(512 * MB, gt=0, description="answers by which a repeated event is known")
    items_bytes: int = Field(512 * MB, gt=0, description="counters of items, trending lists and the catalogue")
    control_bytes: int = Field(256 * MB, gt=0, description="all other keys of the store")
    log_bytes: int = Field(20 * GB, gt=0, description="the offline log")
    bundles_bytes: int = Field(10 * GB, gt=0, description="model bundles")
    registry_bytes: int = Field(5 * GB, gt=0, description="database and artifacts of a local MLflow")
    files_bytes: int = Field(10 * GB, gt=0, description="all else in the state folder")

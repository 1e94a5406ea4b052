"""Settings of the online store (Redis protocol)."""

from pydantic import Field, model_validator

from configs.groups.group import Group


class Store(Group):
    """The online store."""

    url: str | None = Field(None, description="an outside Redis or Valkey; None starts the bundled Valkey")
    prefix: str = Field("rc", pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="first part of every key")
    partitions: int = Field(16, ge=1, le=256, description="hash tags over which users spread; fixed at creation")
    timeout_s: float = Field(1.0, gt=0, description="longest wait for one answer of the store; of an event: deadline_s")
    job_timeout_s: float = Field(30.0, gt=0, description="the same for jobs, which have nobody waiting")
    copies: int = Field(
        0,
        ge=0,
        le=10,
        description="copies of an outside store that must have an event before it is acknowledged; else it gets 503",
    )
    disk_floor_mb: float = Field(
        512.0, ge=0, description="free space on the disk of a local store below which events are refused; 0 = never"
    )
    history_limit: int = Field(500, ge=1, le=5000, description="latest interactions kept per user for the model")
    seen_limit: int = Field(5000, ge=0, description="older item ids kept per user, only to exclude what was seen")
    dedupe_window_s: int = Field(86_400, ge=1, description="an event_id repeated within this time is a duplicate")
    max_future_s: int = Field(300, ge=0, description="how far ahead of the server's clock a timestamp may be")
    idle_user_days: int = Field(
        0,
        ge=0,
        description="all of a user idle for this long expires; an experiment counts who comes back as new; 0 = never",
    )
    max_exposures: int = Field(1_000_000, ge=0, description="exposures kept per partition between compactions")
    attribution_window_s: int = Field(86_400, ge=1, description="how long after a list an event can belong to it")
    attribution_lists: int = Field(10, ge=1, le=100, description="a user's latest lists to which events can belong")
    counted_lists: int = Field(
        100, ge=1, description="of a user the first lists, and ratings, that an experiment counts"
    )
    session_gap_s: int = Field(1800, ge=1, description="a longer pause between a user's lists begins a new session")
    clock_skew_s: int = Field(300, ge=0, description="how far before the user's first list an event may claim to be")

    @model_validator(mode="after")
    def _copies_exist(self) -> "Store":
        if self.copies and self.url is None:
            raise ValueError(
                f"copies is {self.copies}, and the store that the stack runs itself has none: "
                "name an outside store by REDIS_URL, or set 0"
            )
        return self

"""Settings of what records from outside: the model registry, and traces."""

from pydantic import Field

from configs.groups.group import Group


class Tracking(Group):
    """The model registry (MLflow)."""

    uri: str | None = Field(None, description="an outside MLflow server; None starts a local one on SQLite")
    experiment: str = Field("raycommend", min_length=1)
    model: str = Field("raycommend-als", min_length=1, description="name of the registered model")


class Tracing(Group):
    """OpenTelemetry traces of requests, by stage."""

    endpoint: str | None = Field(
        None,
        description="address of an OTLP collector over HTTP, such as http://127.0.0.1:4318/v1/traces; None: off",
    )
    share: float = Field(0.01, ge=0, le=1, description="share of requests that are traced, if the caller does not say")

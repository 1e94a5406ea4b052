"""Settings of who may call the HTTP functions."""

from typing import Literal

from pydantic import Field, model_validator

from configs.group import Group


class ApiKey(Group):
    """One key, as `python -m deployments.http.api_keys` makes it; the key itself is kept nowhere."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="who uses it; shown in errors")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the key")
    scopes: tuple[Literal["recommend", "events", "read", "admin"], ...] = Field(min_length=1)
    per_minute: int | None = Field(None, ge=1, description="requests a minute, over all replicas; None: no limit")


class Security(Group):
    """Who may call the HTTP functions."""

    keys: tuple[ApiKey, ...] = Field((), description="without any, everybody may do everything, on loopback only")
    hosts: tuple[str, ...] = Field((), description="host names, beside localhost, by which it is asked without keys")

    @model_validator(mode="after")
    def _keys_differ(self) -> "Security":
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"two keys have the same {field}")
        return self

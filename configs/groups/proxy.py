"""Settings of the front proxy (HAProxy). Standard library only: its launcher runs without site-packages."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar

VARIABLE = "RAYCOMMEND_PROXY_"


@dataclass(frozen=True)
class Proxy:
    """What the proxy takes from clients, and what it hands to replicas.

    Attributes:
        connections: of clients held at once. Fewer where the process may not open twice as many files.
        connections_per_source: of one address (IPv6: one /64) among them. A load balancer is one address.
        request_s: within which the head and the first 16 KB of the body must be there; else 408.
        idle_s: after which a client that neither sends nor takes what is due is let go.
        answer_s: within which a replica must begin its answer, and go on with it; else 504.
        in_flight: requests that a replica works on at once; the next ones wait in the proxy.
        queue_s: longest wait for a replica; then 503.
        queue: requests of one application that wait; the next ones get 503, after `RETRY_S`.
        large_bodies: of one application at once: bodies above 14 KB or of unknown length, which pass unbuffered.
    """

    connections: int = 8000
    connections_per_source: int = 6000
    request_s: float = 10.0
    idle_s: float = 30.0
    answer_s: float = 60.0
    in_flight: int = 128
    queue_s: float = 0.25
    queue: int = 512
    large_bodies: int = 32

    # How pydantic reads the group among the other settings.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise ValueError(f"proxy.{name} is {value}; it must be above 0")
        if self.connections_per_source > self.connections:
            raise ValueError(
                f"proxy.connections_per_source is {self.connections_per_source}; "
                f"it can be at most proxy.connections, {self.connections}"
            )

    def environment(self) -> dict[str, str]:
        """The variables by which the launcher gets these values."""
        return {VARIABLE + name.upper(): str(value) for name, value in asdict(self).items()}


def from_environment(environment: Mapping[str, str]) -> Proxy:
    """The settings from variables, defaults where there is none. Raises `ValueError`, which names the setting."""
    given: dict[str, float] = {}
    for field in fields(Proxy):
        text = environment.get(VARIABLE + field.name.upper())
        if text is None:
            continue
        try:
            given[field.name] = int(text) if isinstance(field.default, int) else float(text)
        except ValueError:
            raise ValueError(f"{VARIABLE}{field.name.upper()} is {text!r}, which is no number") from None
    return Proxy(**given)  # type: ignore[arg-type]

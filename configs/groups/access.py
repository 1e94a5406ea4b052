"""Settings of who may call the HTTP functions."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from configs.groups.group import Group

ScopeName = Literal["recommend", "events", "read", "admin"]
KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ApiKey(Group):
    """One key, as `python -m deployments.http.api_keys` makes it; the key itself is kept nowhere."""

    name: KeyName = Field(description="who uses it; shown in errors")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the key")
    scopes: tuple[ScopeName, ...] = Field(min_length=1)
    per_minute: int | None = Field(
        None, ge=1, description="requests a minute, over all replicas, a batch being as many as it has events"
    )


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or text != f"{parts.scheme}://{parts.netloc}".lower():
        raise ValueError(f"{text!r} is no origin: give scheme and host in small letters, as in https://shop.example")
    return text


def _keys_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("whoever stands between could put keys of their own there: give an https:// address or a file")
    if "://" in text and parts.scheme not in ("http", "https"):
        raise ValueError(f"{text!r}: give an https:// address or the path of a file")
    return text


class Jwt(Group):
    """Signed tokens (JWT) of an identity provider, taken beside API keys."""

    keys: Annotated[str, AfterValidator(_keys_address)] = Field(
        description="JWKS with the provider's public keys: an https:// address or a file"
    )
    issuer: str = Field(min_length=1, description="what the token's `iss` must be")
    audience: str = Field(min_length=1, description="what the token's `aud` must be or hold")
    algorithms: tuple[Literal["RS256", "ES256"], ...] = Field(("RS256", "ES256"), min_length=1)
    leeway_s: int = Field(30, ge=0, le=600, description="how far the clocks of the provider and of this may differ")
    scopes_claim: str = Field(
        "scope",
        min_length=1,
        description="claim with the scopes, as a list or as words between spaces; others count not",
    )
    user_claim: str | None = Field(
        None, min_length=1, description="claim with a user id: a token that has it may ask for that user alone"
    )
    per_minute: int | None = Field(None, ge=1, description="requests a minute of each subject (`sub`); None: no limit")
    refetch_s: float = Field(30.0, ge=1, description="shortest time between two looks for a key that is not known")
    keys_age_s: float = Field(600.0, ge=1, description="age at which the keys are read again all the same")
    max_bytes: int = Field(8192, ge=256, le=65_536, description="longest token")
    remembered: int = Field(10_000, ge=0, description="verified tokens that a replica remembers until they expire")


class Security(Group):
    """Who may call the HTTP functions."""

    keys: tuple[ApiKey, ...] = Field(
        (), description="without any here or in the store, everybody may do everything, on loopback only"
    )
    hosts: tuple[str, ...] = Field((), description="host names, beside localhost, by which it is asked without keys")
    jwt: Jwt | None = Field(None, description="tokens that are taken beside keys")
    cors_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (), description="origins whose pages may call the API from a browser, as https://shop.example; none by default"
    )

    @property
    def asks(self) -> bool:
        """Whether these settings alone make callers say who they are."""
        return bool(self.keys) or self.jwt is not None

    @model_validator(mode="after")
    def _keys_differ(self) -> "Security":
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"two keys have the same {field}")
        return self

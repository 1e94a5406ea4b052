"""HTTP routes of keys and of the audit log, for admins; part of the console's application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from configs import clock
from configs.groups.access import KeyName, ScopeName, Security
from configs.settings import Serving
from deployments.access.caller import CALLER
from deployments.http.asgi_app import ERRORS, read_body
from deployments.http.errors import ApiError, invalid_field, parse_body
from deployments.http.openapi import json_body
from deployments.http.schemas import ErrorAnswer, iso_time
from features.access import key_records
from features.access.audit_log import AuditEntry, read_actions
from features.access.key_records import BadKey, KeyRecord, UnknownKey, all_keys, read_records
from features.redis.connection import StoreClient
from features.redis.keys import Keys

OLD_FOR_S = 86_400.0


class MakeKeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: KeyName = Field(description="who will use it")
    scopes: list[ScopeName] = Field(["recommend", "events"], min_length=1)
    per_minute: int | None = Field(None, ge=1, description="requests a minute at most; an event of a batch is one")
    expires_in_s: float | None = Field(None, gt=0, le=3_155_760_000, description="null: it does not expire")


class RotateKeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old_for_s: float = Field(
        OLD_FOR_S, ge=0, le=31_622_400, description="how long the key before stays valid beside it"
    )


class KeyView(BaseModel):
    """A key as it may be shown: of the key itself nothing is kept."""

    name: str = Field(description="who uses it")
    scopes: list[str] = Field(description="what it may do")
    per_minute: int | None = Field(description="requests a minute at most; null: no limit")
    state: Literal["valid", "expired", "revoked"] = Field(description="whether it is taken now")
    old_until: str | None = Field(description="until when the key before the last rotation is valid too")
    created_at: str | None = Field(description="null: it stands in the settings file alone")
    expires_at: str | None = Field(description="null: it does not expire")
    changed_at: str | None = Field(description="when it was made, rotated or revoked last")
    changed_by: str | None = Field(description="who did that: the name of a key, or a person at the machine")


class KeysAnswer(BaseModel):
    keys: list[KeyView]


class NewKeyAnswer(BaseModel):
    key: str = Field(description="shown this once; clients send it as Authorization: Bearer KEY")
    kept: KeyView = Field(description="what is remembered of it, which is not the key itself")


class AuditAnswer(BaseModel):
    entries: list[AuditEntry]


BODIES: list[type[BaseModel]] = [MakeKeyRequest, RotateKeyRequest]


class KeyRoom:
    """What the routes need."""

    def __init__(self, security: Security, client: StoreClient, keys: Keys) -> None:
        self.security = security
        self.client = client
        self.keys = keys


def access_api(room: Callable[[], KeyRoom], serving: Serving) -> APIRouter:
    """The routes of keys and audit. `room` is called at request time."""
    api = APIRouter(tags=["access"])
    missing: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is no such key"}}

    @api.get("/api/v1/keys", summary="API keys, without the keys themselves", responses=ERRORS)
    async def all_of_them() -> KeysAnswer:
        found = room()
        records = await read_records(found.client, found.keys)
        return KeysAnswer(keys=[shown(key) for key in all_keys(records, found.security)])

    @api.post(
        "/api/v1/keys",
        summary="Make a key, which is valid in every replica within a second",
        status_code=201,
        responses=ERRORS,
        openapi_extra=json_body(MakeKeyRequest),
    )
    async def make(request: Request) -> NewKeyAnswer:
        found = room()
        asked = parse_body(MakeKeyRequest, await read_body(request.scope, request.receive, serving.max_body_bytes))
        async with _key_errors():
            key, record = await key_records.make(
                *(found.client, found.keys, found.security, asked.name, asked.scopes, _who(request)),
                per_minute=asked.per_minute,
                expires_in_s=asked.expires_in_s,
            )
        return NewKeyAnswer(key=key, kept=shown(record))

    @api.post(
        "/api/v1/keys/{name}/rotate",
        summary="Give a key a new text; the one before stays valid for a while",
        responses=missing | ERRORS,
        openapi_extra={"requestBody": {**json_body(RotateKeyRequest)["requestBody"], "required": False}},
    )
    async def rotate(name: str, request: Request) -> NewKeyAnswer:
        found = room()
        body = await read_body(request.scope, request.receive, serving.max_body_bytes)
        asked = parse_body(RotateKeyRequest, body) if body.strip() else RotateKeyRequest()
        async with _key_errors():
            key, record = await key_records.rotate(
                found.client, found.keys, found.security, name, _who(request), asked.old_for_s
            )
        return NewKeyAnswer(key=key, kept=shown(record))

    @api.delete("/api/v1/keys/{name}", summary="Revoke a key", responses=missing | ERRORS)
    async def revoke(name: str, request: Request) -> KeyView:
        found = room()
        async with _key_errors():
            return shown(await key_records.revoke(found.client, found.keys, found.security, name, _who(request)))

    @api.get("/api/v1/audit", summary="What admins did, and what was refused, newest first", responses=ERRORS)
    async def audit(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> AuditAnswer:
        found = room()
        return AuditAnswer(entries=await read_actions(found.client, found.keys, limit))

    return api


def shown(key: KeyRecord) -> KeyView:
    """A key as answers and the command show it."""
    now = clock.now_ms()
    expired = key.expires_ms is not None and key.expires_ms <= now
    old = next((one.until_ms for one in key.hashes if one.until_ms is not None and one.until_ms > now), None)
    return KeyView(
        name=key.name,
        scopes=list(key.scopes),
        per_minute=key.per_minute,
        state="revoked" if key.revoked_ms is not None else "expired" if expired else "valid",
        old_until=_time(old),
        created_at=_time(key.created_ms),
        expires_at=_time(key.expires_ms),
        changed_at=_time(key.changed_ms),
        changed_by=key.changed_by,
    )


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_time(time_ms)


def _who(request: Request) -> str:
    found = request.scope.get(CALLER)
    return "a person" if found is None else str(found)


@asynccontextmanager
async def _key_errors() -> AsyncIterator[None]:
    try:
        yield
    except UnknownKey as error:
        raise ApiError(404, "not_found", str(error), error.field) from None
    except BadKey as error:
        raise invalid_field(str(error), error.field) from None

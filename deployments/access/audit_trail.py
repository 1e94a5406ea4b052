"""Writes down what admins do and what is refused, while requests pass the gate of the console's application."""

import logging
import time

from starlette.types import Message, Scope, Send

from configs import clock
from deployments.access.caller import CALLER
from deployments.http.errors import ApiError
from features.access.audit_log import AuditEntry, note_action
from features.redis.connection import StoreClient
from features.redis.errors import StoreError
from features.redis.keys import Keys

logger = logging.getLogger("ray.serve")
REFUSED_A_MINUTE = 30
"""Refused tries that a replica writes one by one within a minute; those beyond are counted."""
LONGEST_PATH = 300
LOOPBACK = ("127.0.0.1", "::1")
FORWARDED = b"x-forwarded-for"


class AuditTrail:
    """Writes entries of the audit log. What the store does not take, the replica's log does."""

    def __init__(self, client: StoreClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._minute_s = float("-inf")
        self._written = 0
        self._left_out = 0

    def watched(self, scope: Scope, send: Send) -> Send:
        """`send` that writes the entry of an admin's action before its answer leaves."""

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                await self._note(scope, status, "done" if status < 400 else "failed")
            await send(message)

        return send_noted

    async def refused(self, scope: Scope, error: ApiError) -> None:
        """Write that a request was turned away, or count it where there are too many."""
        now = time.monotonic()
        if now - self._minute_s >= 60:
            self._minute_s, self._written = now, 0
        if self._written >= REFUSED_A_MINUTE:
            self._left_out += 1
            return
        self._written += 1
        more, self._left_out = self._left_out, 0
        await self._note(scope, error.status, error.code, more)

    async def _note(self, scope: Scope, status: int, result: str, more: int = 0) -> None:
        entry = AuditEntry(
            time_ms=clock.now_ms(),
            who=_who(scope, status),
            what=f"{scope['method']} {scope['path'][:LONGEST_PATH]}",
            origin=origin(scope),
            status=status,
            result=result,
            more=more,
        )
        try:
            await note_action(self._client, self._keys, entry)
        except StoreError as error:
            logger.warning("the audit log cannot be written (%s): %s", error, entry.model_dump_json())


def _who(scope: Scope, status: int) -> str:
    caller = scope.get(CALLER)
    if caller is not None:
        return str(caller)
    return "unknown" if status in (401, 403) else "a person"


def origin(scope: Scope) -> str:
    """The address that a request came from: as our proxy says, which runs on this machine, or else the connection's."""
    client = scope.get("client")
    peer = str(client[0]) if client else "unknown"
    if peer not in LOOPBACK:
        return peer
    # The proxy puts its own behind what a client may have sent.
    told = [value for name, value in scope["headers"] if name == FORWARDED]
    return told[-1].decode("latin-1").rpartition(",")[2].strip()[:60] if told else peer

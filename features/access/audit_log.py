"""The audit log: what admins did, and which tries were refused. Kept in a stream of bounded length."""

from pydantic import BaseModel, ConfigDict

from features.redis.connection import StoreClient
from features.redis.keys import Keys

KEPT = 10_000


class AuditEntry(BaseModel):
    """One thing that somebody did, or tried to do."""

    # What another version of this wrote, before or after an upgrade, must still be read.
    model_config = ConfigDict(extra="ignore", frozen=True)

    time_ms: int
    who: str
    """`key NAME`, `token SUBJECT`, `shell USER` for commands, `a person` where no keys are asked for, or `unknown`."""
    what: str
    """Method and path of a request, or the words of a command."""
    origin: str
    """The address from which it came."""
    status: int
    """Of the answer; of a command 200."""
    result: str
    """`done`, or the code of the error."""
    more: int = 0
    """Refused tries that were counted since the entry before, and not written one by one."""


async def note_action(client: StoreClient, keys: Keys, entry: AuditEntry) -> None:
    """Write an entry. Raises `StoreError`."""
    await client.run("XADD", keys.audit, "MAXLEN", "~", KEPT, "*", "e", entry.model_dump_json())


async def read_actions(client: StoreClient, keys: Keys, limit: int) -> list[AuditEntry]:
    """The latest entries, newest first. Raises `StoreError`."""
    found = await client.run("XREVRANGE", keys.audit, "+", "-", "COUNT", limit)
    return [AuditEntry.model_validate_json(fields[b"e"]) for _, fields in found]

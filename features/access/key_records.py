"""API keys that are made while the system runs: hashed, in one value of the store, changed by compare and set.

A record takes the place of the key of that name in the settings file, so that such a key too can be rotated and revoked
while the system runs. A revoked key keeps its record, without hashes.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from configs import clock
from configs.groups.access import ApiKey, KeyName, ScopeName, Security
from features.redis.connection import StoreClient
from features.redis.errors import StoreBusy
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

PREFIX = "rk_"
MOST_KEYS = 1000
TRIES = 20
_CHANGE = Script("state/change_access")
_NAME: TypeAdapter[str] = TypeAdapter(KeyName)
_SCOPES: TypeAdapter[tuple[ScopeName, ...]] = TypeAdapter(tuple[ScopeName, ...])


class BadKey(ValueError):  # noqa: N818 - it names what is wrong, which callers answer with 422
    """A key cannot be made, rotated or revoked as asked; `field` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownKey(BadKey):
    """There is no key of that name."""


class KeyHash(BaseModel):
    """One of the texts under which a key is known, and until when."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str
    until_ms: int | None = None
    """None: as long as the key is valid."""


class KeyRecord(BaseModel):
    """A key: who may do what with it, and what became of it. The key itself is kept nowhere."""

    # What another version of this wrote, before or after an upgrade, must still be read.
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    scopes: tuple[str, ...]
    per_minute: int | None = None
    hashes: tuple[KeyHash, ...] = ()
    """The newest first: one, or two from a rotation until the older one ends; none once revoked."""
    created_ms: int | None = None
    """None: it stands in the settings file alone."""
    expires_ms: int | None = None
    revoked_ms: int | None = None
    changed_ms: int | None = None
    changed_by: str | None = None


class KeyRecords(BaseModel):
    """All keys of the store, by their order of making."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    keys: tuple[KeyRecord, ...] = ()

    def named(self, name: str) -> KeyRecord | None:
        return next((key for key in self.keys if key.name == name), None)

    def with_key(self, changed: KeyRecord, security: Security) -> "KeyRecords":
        """These, with a key in the place of that of its name.

        Where there are too many, the key that was revoked first goes. One that the settings file names stays: without
        its record it would be valid again.

        Raises:
            BadKey: there are so many, and none of them is revoked.
        """
        if self.named(changed.name) is not None:
            return KeyRecords(keys=tuple(changed if key.name == changed.name else key for key in self.keys))
        keys = list(self.keys)
        if len(keys) >= MOST_KEYS:
            set_too = {key.name for key in security.keys}
            spare = [key for key in keys if key.revoked_ms and key.name not in set_too]
            revoked = min(spare, key=lambda key: key.revoked_ms or 0, default=None)
            if revoked is None:
                raise BadKey("name", f"{MOST_KEYS} keys are kept at most; revoke some first")
            keys.remove(revoked)
        return KeyRecords(keys=(*keys, changed))


async def read_records(client: StoreClient, keys: Keys) -> KeyRecords | None:
    """The keys in the store; None where none was ever made. Raises `StoreError`."""
    raw = await client.run("GET", keys.access)
    return None if raw is None else KeyRecords.model_validate_json(raw)


def all_keys(records: KeyRecords | None, security: Security) -> list[KeyRecord]:
    """Those of the settings file first, each unless the store has one of its name; then those of the store."""
    stored = records or KeyRecords()
    return [*(_of_settings(key) for key in security.keys if stored.named(key.name) is None), *stored.keys]


def new_hash() -> tuple[str, str]:
    """A new key and its sha256. It is 32 random bytes, so one round is enough to keep: there is nothing to guess."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


async def make(
    client: StoreClient,
    keys: Keys,
    security: Security,
    name: str,
    scopes: Sequence[str],
    who: str,
    per_minute: int | None = None,
    expires_in_s: float | None = None,
) -> tuple[str, KeyRecord]:
    """Make a key; it is valid in every replica within a second. Returns the key, which is kept nowhere, and its record.

    Raises:
        BadKey: a bad name, scope or limit; the name is taken; or nobody would be an admin from then on.
        StoreError: the store is away.
    """
    key, digest = new_hash()
    _checked(name, scopes, per_minute, expires_in_s)
    now = clock.now_ms()
    record = KeyRecord(
        name=name,
        scopes=tuple(scopes),
        per_minute=per_minute,
        hashes=(KeyHash(sha256=digest),),
        created_ms=now,
        expires_ms=None if expires_in_s is None else now + round(expires_in_s * 1000),
        changed_ms=now,
        changed_by=who,
    )

    def change(records: KeyRecords) -> KeyRecords:
        known = {key.name: key for key in all_keys(records, security)}
        if name in known and known[name].revoked_ms is None:
            raise BadKey("name", f"there is a key {name!r} already; rotate it, or revoke it first")
        if not known and security.jwt is None and "admin" not in scopes:
            raise BadKey(
                "scopes", "the first key makes every caller show one, so it needs the scope admin, or nobody could"
            )
        return records.with_key(record, security)

    await _change(client, keys, change)
    return key, record


async def rotate(
    client: StoreClient, keys: Keys, security: Security, name: str, who: str, old_for_s: float
) -> tuple[str, KeyRecord]:
    """Give a key a new text. The one before stays valid for `old_for_s`; one that is older ends at once.

    Raises:
        UnknownKey: there is none of that name, or it was revoked.
        StoreError: the store is away.
    """
    if not 0 <= old_for_s <= 366 * 86_400:
        raise BadKey("old_for_s", "give between 0 s and a year")
    key, digest = new_hash()
    now = clock.now_ms()
    until_ms = now + round(old_for_s * 1000)

    def changed(known: KeyRecord) -> KeyRecord:
        old = known.hashes[:1] if until_ms > now else ()
        hashes = (KeyHash(sha256=digest), *(KeyHash(sha256=one.sha256, until_ms=until_ms) for one in old))
        return known.model_copy(update={"hashes": hashes, "changed_ms": now, "changed_by": who})

    return key, await _change_one(client, keys, security, name, changed)


async def revoke(client: StoreClient, keys: Keys, security: Security, name: str, who: str) -> KeyRecord:
    """End a key, in every replica within a second. Raises UnknownKey, StoreError."""
    now = clock.now_ms()

    def changed(known: KeyRecord) -> KeyRecord:
        return known.model_copy(update={"hashes": (), "revoked_ms": now, "changed_ms": now, "changed_by": who})

    return await _change_one(client, keys, security, name, changed)


async def forget_all(client: StoreClient, keys: Keys) -> None:
    """Forget every key of the store, so that only those of the settings file count. Raises StoreError."""
    await _change(client, keys, lambda _: KeyRecords())


async def _change_one(
    client: StoreClient, keys: Keys, security: Security, name: str, changed: Callable[[KeyRecord], KeyRecord]
) -> KeyRecord:
    found: list[KeyRecord] = []

    def change(records: KeyRecords) -> KeyRecords:
        known = next((key for key in all_keys(records, security) if key.name == name), None)
        if known is None or known.revoked_ms is not None:
            revoked = " any more: it was revoked" if known else ""
            raise UnknownKey("name", f"there is no key {name!r}{revoked}")
        found[:] = [changed(known)]
        return records.with_key(found[0], security)

    await _change(client, keys, change)
    return found[0]


async def _change(client: StoreClient, keys: Keys, change: Callable[[KeyRecords], KeyRecords]) -> None:
    for _ in range(TRIES):
        # The version is read first: whoever changes the keys in between makes the comparison fail, and we look again.
        version, raw = await client.read([("HGET", keys.versions, "access"), ("GET", keys.access)])
        records = KeyRecords() if raw is None else KeyRecords.model_validate_json(raw)
        text = change(records).model_dump_json(exclude_none=True)
        if await run_script(client, _CHANGE, [keys.access, keys.versions], [version or b"0", text]):
            return
    raise StoreBusy("the keys are being changed by others; try again")


def _checked(name: str, scopes: Sequence[str], per_minute: int | None, expires_in_s: float | None) -> None:
    for field, kind, value in (("name", _NAME, name), ("scopes", _SCOPES, scopes)):
        try:
            kind.validate_python(tuple(value) if field == "scopes" else value)
        except ValidationError as error:
            raise BadKey(field, f"{field}: {error.errors()[0]['msg']}") from None
    if not scopes:
        raise BadKey("scopes", "scopes: give at least one")
    if per_minute is not None and per_minute < 1:
        raise BadKey("per_minute", "per_minute: give at least 1")
    if expires_in_s is not None and not 0 < expires_in_s <= 100 * 366 * 86_400:
        raise BadKey("expires_in_s", "expires_in_s: give more than 0 s and less than 100 years")


def _of_settings(key: ApiKey) -> KeyRecord:
    return KeyRecord(name=key.name, scopes=key.scopes, per_minute=key.per_minute, hashes=(KeyHash(sha256=key.sha256),))

"""The API keys that are valid now, in each replica: those of the settings file, and those of the store.

A replica follows the store by its control watch. While the store is away, what was known last counts; a file in the
state folder keeps that over restarts, so that a key which was revoked does not come back with a replica that starts
while the store is down.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from configs import clock
from configs.groups.access import Security
from deployments.access.caller import Caller, all_scopes
from deployments.access.limits import Count, Limit
from features.access.key_records import KeyRecord, KeyRecords, all_keys, read_records
from features.redis.connection import StoreClient
from features.redis.keys import Keys

logger = logging.getLogger("ray.serve")
FILE = "access.json"
_Known = tuple[Caller, int | None]
"""Whose key it is, and when it ends, in ms since the epoch; None: it does not."""


class KnownKeys:
    """Knows keys by their hash.

    Args:
        security: the keys of the settings file.
        count: counts requests of keys with a limit, see `deployments.access.limits.counter`.
        state_dir: where what was known last is kept; None keeps nothing.

    Attributes:
        asks: whether callers must say who they are. Once there was a key it stays so, whatever is revoked.
    """

    def __init__(self, security: Security, count: Count, state_dir: Path | None = None) -> None:
        self._security = security
        self._count = count
        self._file = None if state_dir is None else state_dir / FILE
        kept = _kept(self._file)
        self._records = kept or KeyRecords()
        self._unreadable = kept is None
        self._seen: dict[bytes, _Known] = {}
        self._by_hash: Mapping[str, _Known] = {}
        self.asks = False
        self._take_over()

    def seen(self, text: bytes) -> Caller | None:
        """The caller whose key this text is, where it was found before; a look-up instead of a hash, which costs 10 %
        of an event where many processes share a core. The text stands in this process's memory alone, for as long as
        the keys are the same. Python's own look-up is by a secret hash, so its time tells nothing of a key."""
        found = self._seen.get(text)
        if found is None:
            return None
        caller, end_ms = found
        return None if end_ms is not None and clock.now_ms() >= end_ms else caller

    def find(self, text: bytes, sha256: str) -> Caller | None:
        """The caller whose key this text with its hash is; None where there is none, or not any more."""
        found = self._by_hash.get(sha256)
        if found is None:
            return None
        self._seen[text] = found
        return self.seen(text)

    async def follow(self, client: StoreClient, keys: Keys) -> None:
        """Take over what the store has. Raises `StoreError`; then all stays as it is."""
        records = await read_records(client, keys)
        if records is None:
            if self._records.keys:
                logger.warning("the online store has lost its API keys; those that were known last count on")
            return
        if records != self._records or self._unreadable:
            self._records, self._unreadable = records, False
            self._take_over()
        if self._file is not None:
            await asyncio.to_thread(_keep, self._file, records.model_dump_json(exclude_none=True))

    def _take_over(self) -> None:
        known = all_keys(self._records, self._security)
        self._by_hash = {
            one.sha256: (self._caller(key), _end_ms(key, one.until_ms)) for key in known for one in key.hashes
        }
        self._seen = {}
        self.asks = bool(known) or self._security.asks or self._unreadable

    def _caller(self, key: KeyRecord) -> Caller:
        shown = f"the key {key.name}"
        limit = None if key.per_minute is None else Limit(key.name, shown, key.per_minute, self._count)
        return Caller(f"key {key.name}", key.name, key.scopes, all_scopes(key.scopes), limit)


def _end_ms(key: KeyRecord, until_ms: int | None) -> int | None:
    return min((end for end in (key.expires_ms, until_ms) if end is not None), default=None)


def _kept(file: Path | None) -> KeyRecords | None:
    """What was known last; None where that cannot be read, and so might be anything."""
    if file is None or not file.is_file():
        return KeyRecords()
    try:
        return KeyRecords.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        logger.warning("the API keys that were known last cannot be read from %s: %s", file, error)
        return None


def _keep(file: Path, text: str) -> None:
    """Write the file whole or not at all, for its owner alone. Replicas write the same, so the last one may win."""
    if not file.parent.is_dir():  # in a cluster there may be none
        return
    try:
        if file.is_file() and file.read_text() == text:
            return
        descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp gives it 0600
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
        Path(partial).replace(file)
    except OSError as error:
        logger.warning("the API keys cannot be kept in %s: %s", file, error)

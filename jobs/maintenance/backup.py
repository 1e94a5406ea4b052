"""Writes a backup of the online store into one folder. `python -m jobs.backup FOLDER`

The features and the sums of experiments are not copied: they are made again from what is: the data set, the offline
log (drained first) and the control keys (`features.recovery.store_snapshot`). A backup is whole or absent. Model
bundles and the registry are listed, not copied; back up their folders with whatever you use for files.
"""

import argparse
import asyncio
import hashlib
import shutil
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from configs.versions.formats import BACKUP
from configs.versions.program import program_version
from data.dataset import DataError, processed_dir
from data.event_log import EventLog
from data.log_tables import KINDS
from features.recording.online_store import OnlineStore
from features.recovery.store_snapshot import take_snapshot
from features.redis.errors import StoreError
from features.redis.identity import store_identity
from features.redis.layout import read_seeded
from features.redis.lock import maintenance
from features.redis.session import store_session
from features.streams.drain import drain
from features.users.erasure_key import key_path

MANIFEST, CONTROL, LOG, DATA = "manifest.json", "control.json", "log", "data"


class BackupManifest(BaseModel):
    """`manifest.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = BACKUP.current
    written_by: str | None = None
    """The version of the program; None in backups of format 1."""
    created_ms: int
    partitions: int
    seeded: str | None
    """Fingerprint of the data set behind the features."""
    store: str | None = None
    """The identity of the store; None in backups of earlier versions."""
    files: dict[str, str]
    """Path in the backup -> sha256."""
    bundles: list[str]
    """Model versions that were there; not part of the backup."""


async def backup(settings: Settings, folder: Path, wait_s: float = 60.0) -> Path:
    """Drain the streams and write a new backup under `folder`, for its owner alone: it holds what users did.

    Events acknowledged before the call are in it. Ingestion goes on meanwhile; what arrives during the backup may or
    may not be in it.

    Returns:
        The backup's own folder, `backup-<UTC time>`.

    Raises:
        StoreBusy: another maintenance job is at work.
        StoreError: the store does not answer.
    """
    now = datetime.now(UTC)
    target = folder / f"backup-{now:%Y%m%d-%H%M%S}"
    partial = folder / f".{target.name}-{uuid.uuid4().hex[:8]}"
    try:
        async with store_session(settings) as (client, keys):
            store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
            await store.prepare()
            async with maintenance(client, store.keys, "backup", wait_s) as lock:
                log = EventLog(settings.log_dir)
                await drain(client, store.keys, log, lock)
                snapshot = await take_snapshot(client, store.keys)
                seeded = await read_seeded(client, store.keys)
                identity = await store_identity(client, store.keys)
                await asyncio.to_thread(_copy, settings, log, partial, snapshot.model_dump_json())
                await lock.check()
        bundles = (
            sorted(path.name for path in settings.bundles_dir.glob("[!.]*")) if settings.bundles_dir.exists() else []
        )
        files = await asyncio.to_thread(digests, partial)
        manifest = BackupManifest(
            written_by=program_version(),
            created_ms=clock.now_ms(),
            partitions=settings.store.partitions,
            seeded=seeded,
            store=identity,
            files=files,
            bundles=bundles,
        )
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        for path in (partial, *partial.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        partial.rename(target)
        return target
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(settings: Settings, log: EventLog, partial: Path, control: str) -> None:
    for kind in KINDS:
        (partial / LOG / kind).mkdir(parents=True)
        partial.chmod(0o700)
        for part in log.parts(kind):
            shutil.copy2(part.path, partial / LOG / kind)
    if key_path(log.log_dir).is_file():
        shutil.copy2(key_path(log.log_dir), partial / LOG)  # with its mode: only its owner may read it
    (partial / CONTROL).write_text(control)
    if processed_dir(settings).is_dir():
        shutil.copytree(processed_dir(settings), partial / DATA)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file under `folder` but the manifest, by relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jobs.backup", description=__doc__)
    parser.add_argument("folder", type=Path, help="the backup becomes a new folder in it")
    options = parser.parse_args(argv)
    try:
        print(asyncio.run(backup(load_settings(), options.folder)))
    except (StoreError, DataError, SettingsError, OSError) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1
    return 0

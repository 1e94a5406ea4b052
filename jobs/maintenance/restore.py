"""Restores a backup into an empty store. `python -m jobs.restore BACKUP`

Stop ingestion first. A restore that was interrupted is simply started again.
"""

import argparse
import asyncio
import json
import shutil
import sys
import uuid
from pathlib import Path

from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from configs.versions.formats import BACKUP, FormatError
from data.dataset import DataError, load_dataset, processed_dir, read_meta
from data.event_log import EventLog
from data.log_tables import KINDS
from features.recording.online_store import OnlineStore
from features.recovery.rebuild import Rebuilt, rebuild
from features.recovery.store_snapshot import StoreSnapshot, holds_events, put_snapshot
from features.redis.errors import StoreError
from features.redis.identity import take_identity
from features.redis.layout import mark_seeded
from features.redis.lock import maintenance
from features.redis.session import store_session
from features.users.erasure_key import key_path, read_key
from jobs.maintenance.backup import CONTROL, DATA, LOG, MANIFEST, BackupManifest, digests

LOCK_WAIT_S = 60.0


async def restore(settings: Settings, folder: Path) -> Rebuilt:
    """Verify a backup and make the store equal to the one it was taken from.

    Raises:
        DataError: the backup is damaged or of another format, or another data set or log is in its place.
        LayoutError: the store has another number of partitions.
        StoreError: the store is not empty, or does not answer.
    """
    manifest, snapshot = await asyncio.to_thread(read_backup, folder)
    if manifest.partitions != settings.store.partitions:
        raise DataError(f"{folder}: made with {manifest.partitions} partitions; set store.partitions to that number")
    async with store_session(settings) as (client, keys):
        store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
        await store.prepare()
        mark = f"{folder.name}:{manifest.created_ms}"
        async with maintenance(client, store.keys, "restore", LOCK_WAIT_S) as lock:
            begun: bytes | None = await client.run("HGET", store.keys.meta, "restoring")
            if begun != mark.encode():
                if await holds_events(client, store.keys):
                    raise StoreError("the store is not empty; a backup is restored into an empty one")
                _check_empty_log(settings)
                await client.run("HSET", store.keys.meta, "restoring", mark)
            await asyncio.to_thread(_copy_files, settings, folder)
            await put_snapshot(client, store.keys, snapshot)
            with_data = manifest.seeded is not None and (folder / DATA).is_dir()
            dataset = await asyncio.to_thread(load_dataset, processed_dir(settings), False) if with_data else None
            done = await rebuild(store, EventLog(settings.log_dir), dataset, lock)
            await mark_seeded(client, store.keys, manifest.seeded)
            if manifest.store is not None:
                await take_identity(client, store.keys, manifest.store)
            await client.run("HDEL", store.keys.meta, "restoring")
            return done


def read_backup(folder: Path) -> tuple[BackupManifest, StoreSnapshot]:
    """A backup's manifest and control keys, with every file verified. Raises `DataError`, which names the file."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        # First of all: what else a later version writes need not make sense here.
        BACKUP.check(told.get("format", BACKUP.oldest), folder, told.get("written_by"))
        manifest = BackupManifest.model_validate(told)
    except FormatError as error:
        raise DataError(str(error)) from None
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / MANIFEST}: no backup, or a damaged one: {error}") from error
    found = digests(folder)
    for name, digest in manifest.files.items():
        if found.get(name) != digest:
            raise DataError(f"{folder / name}: it is {'damaged' if name in found else 'missing'}")
    return manifest, StoreSnapshot.model_validate_json((folder / CONTROL).read_bytes())


def _check_empty_log(settings: Settings) -> None:
    if any(EventLog(settings.log_dir).parts(kind) for kind in KINDS):
        raise DataError(f"{settings.log_dir}: there is a log already; move it away")


def _copy_files(settings: Settings, folder: Path) -> None:
    given = read_key(folder / LOG)
    if given is not None and read_key(settings.log_dir) not in (None, given):
        raise DataError(f"{key_path(settings.log_dir)}: another erasure key than the backup's; move it away")
    for kind in KINDS:
        target = settings.log_dir / kind
        target.mkdir(parents=True, exist_ok=True)
        for path in (folder / LOG / kind).glob("*.parquet"):
            partial = target / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
            shutil.copy2(path, partial)
            partial.replace(target / path.name)
    if given is not None and read_key(settings.log_dir) is None:
        partial = settings.log_dir / f".{key_path(folder).name}.{uuid.uuid4().hex[:8]}"
        shutil.copy2(key_path(folder / LOG), partial)
        partial.replace(key_path(settings.log_dir))
    if not (folder / DATA).is_dir():
        return
    here = processed_dir(settings)
    if not here.exists():
        partial = here.with_name(f".{here.name}-{uuid.uuid4().hex[:8]}")
        shutil.copytree(folder / DATA, partial)
        partial.rename(here)
    elif read_meta(here).fingerprint != read_meta(folder / DATA).fingerprint:
        raise DataError(f"{here}: another data set than the backup's; move it away")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jobs.restore", description=__doc__)
    parser.add_argument("backup", type=Path, help="a folder that jobs.backup made")
    options = parser.parse_args(argv)
    try:
        done = asyncio.run(restore(load_settings(), options.backup))
    except (StoreError, DataError, SettingsError, OSError) as error:
        print(f"restore: {error}", file=sys.stderr)
        return 1
    print(f"restored: {done.interactions} interactions of the data set, {done.logged_events} events of the log")
    return 0

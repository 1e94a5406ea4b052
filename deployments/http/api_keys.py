"""API keys from the shell: `python -m deployments.http.api_keys list|make|rotate|revoke|forget`.

Keys that are made here lie in the store, hashed, and every replica of the running stack follows within a second. With a
name alone, `python -m deployments.http.api_keys NAME`, it prints a key for the settings file and changes nothing.
"""

import argparse
import getpass
import socket
import sys
from collections.abc import Sequence

import yaml

from configs import clock
from configs.groups.access import LOOPBACK, ApiKey
from configs.settings import Settings, SettingsError, load_settings
from deployments.http.schemas import iso_time
from features.access import key_records
from features.access.audit_log import AuditEntry, note_action
from features.access.key_records import BadKey, KeyRecord, all_keys, new_hash, read_records
from features.redis.connection import StoreClient
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.redis.session import with_store

COMMANDS = ("list", "make", "rotate", "revoke", "forget")


def make_key(name: str, scopes: Sequence[str], per_minute: int | None) -> tuple[str, ApiKey]:
    """A new key, and what the settings keep of it. Raises ValueError naming a bad field."""
    key, digest = new_hash()
    return key, ApiKey(name=name, sha256=digest, scopes=tuple(scopes), per_minute=per_minute)


def main(arguments: Sequence[str] | None = None) -> int:
    """List, make, rotate and revoke keys."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] not in COMMANDS and not words[0].startswith("-"):
            return _for_settings(words)
        return _in_store(words)
    except (ValueError, SettingsError, StoreError) as error:
        print(f"api_keys: {error}", file=sys.stderr)
        return 2


def _for_settings(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.http.api_keys", description="Make an API key.")
    parser.add_argument("name", help="who will use it")
    _add_options(parser)
    given = parser.parse_args(words)
    key, kept = make_key(given.name, _scopes(given), given.per_minute)
    print(f"The key, shown this once:\n\n  {key}\n\nFor the YAML file that RAYCOMMEND_CONFIG names:\n")
    lines = {"security": {"keys": [kept.model_dump(mode="json", exclude_none=True)]}}
    print(yaml.safe_dump(lines, sort_keys=False))
    return 0


def _in_store(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.http.api_keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all keys, without the keys themselves")
    make = commands.add_parser("make", help="make a key in the store: valid at once")
    make.add_argument("name", help="who will use it")
    _add_options(make)
    make.add_argument("--expires-days", type=float, help="days until it ends; without: never")
    rotate = commands.add_parser("rotate", help="give a key a new text; the one before stays valid for a while")
    rotate.add_argument("name")
    rotate.add_argument("--old-for", type=float, default=24.0, metavar="HOURS", help="default: 24; 0 ends it at once")
    revoke = commands.add_parser("revoke", help="end a key")
    revoke.add_argument("name")
    commands.add_parser("forget", help="forget all keys of the store; without keys elsewhere, nobody is asked for one")
    given = parser.parse_args(words)
    settings = load_settings()
    with_store(settings, lambda client, keys: _run(settings, client, keys, given))
    return 0


async def _run(settings: Settings, client: StoreClient, keys: Keys, given: argparse.Namespace) -> None:
    security, who = settings.security, f"shell {getpass.getuser()}"
    if given.command == "list":
        for record in all_keys(await read_records(client, keys), security):
            print(_line(record))
        return
    if given.command == "make":
        days = given.expires_days
        key, _ = await key_records.make(
            *(client, keys, security, given.name, _scopes(given), who, given.per_minute),
            expires_in_s=None if days is None else days * 86_400,
        )
        print(f"The key, shown this once; every replica takes it within a second:\n\n  {key}\n")
    elif given.command == "rotate":
        key, _ = await key_records.rotate(client, keys, security, given.name, who, given.old_for * 3600)
        print(f"The new key, shown this once; the one before ends in {given.old_for:g} hours:\n\n  {key}\n")
    elif given.command == "revoke":
        await key_records.revoke(client, keys, security, given.name, who)
        print(f"revoked: {given.name}")
        if any(key.name == given.name for key in security.keys):
            print("It stands in the settings file too: take it out there, in case the store is ever lost.")
    else:
        if settings.serving.host not in LOOPBACK and not security.asks:
            raise BadKey("keys", f"serving.host is {settings.serving.host}, which needs keys")
        await key_records.forget_all(client, keys)
        print("forgotten: all keys of the store")
    what = " ".join(("api_keys", given.command, *([given.name] if "name" in given else [])))
    entry = AuditEntry(
        time_ms=clock.now_ms(), who=who, what=what, origin=socket.gethostname(), status=200, result="done"
    )
    await note_action(client, keys, entry)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scopes", default="recommend,events", help="of recommend, events, read, admin")
    parser.add_argument("--per-minute", type=int, help="requests a minute at most; an event of a batch counts as one")


def _scopes(given: argparse.Namespace) -> list[str]:
    return [scope for scope in given.scopes.split(",") if scope]


def _line(key: KeyRecord) -> str:
    now = clock.now_ms()
    words = [f"{key.name}:", ",".join(key.scopes)]
    if key.per_minute is not None:
        words.append(f"{key.per_minute} a minute")
    if key.revoked_ms is not None:
        words.append(f"revoked {iso_time(key.revoked_ms)}")
    elif key.expires_ms is not None:
        words.append(f"{'expired' if key.expires_ms <= now else 'expires'} {iso_time(key.expires_ms)}")
    words += [
        f"the one before until {iso_time(one.until_ms)}" for one in key.hashes if one.until_ms and one.until_ms > now
    ]
    if key.created_ms is None and key.changed_ms is None:
        words.append("in the settings file")
    if key.changed_ms is not None:
        words.append(f"changed {iso_time(key.changed_ms)} by {key.changed_by}")
    return "  ".join(words)


if __name__ == "__main__":
    sys.exit(main())

"""Users of the online store that the stack runs itself: one for each role, with the commands that it needs.

Their passwords lie in the state folder, for its owner alone, and nowhere else: processes read them there when they
connect, so that none stands in a command line, a log, an answer or the settings that travel to the replicas. The server
gets their hashes, in a file of its own (`aclfile`), and its default user is off.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Literal, get_args

StoreRole = Literal["serving", "console", "jobs", "person"]
ROLES: tuple[StoreRole, ...] = get_args(StoreRole)
PASSWORDS = "store_passwords.json"
ACL_FILE = "store_users.acl"
# What every connection says, and what only reads or writes keys that are named.
_CONNECTION = "auth ping select info time evalsha script|load client|setname"
_READ = (
    "exists get hget hgetall hkeys hmget hscan pfcount pttl ttl xlen xrange xrevrange zcard zlexcount zrangebylex "
    "zrevrange"
)
_WRITE = (
    "append del expire hdel hincrby hset hsetnx incrby pexpire pfadd set unlink xadd xtrim zadd zrem zremrangebyrank"
)
# Erasure, and what measures the store: they walk it, and ask for a rewrite of its file.
_UPKEEP = "xdel scan dbsize randomkey memory|usage bgrewriteaof"
_BY_ROLE: dict[StoreRole, str] = {
    "serving": f"{_CONNECTION} {_READ} {_WRITE}",
    # Health says how durable the server is. It may read the configuration, and nobody may change it.
    "console": f"{_CONNECTION} {_READ} {_WRITE} {_UPKEEP} config|get",
    "jobs": f"{_CONNECTION} {_READ} {_WRITE} {_UPKEEP}",
}
_OF_A_PERSON = "+@all -@dangerous -@admin -@scripting +info +config|get +slowlog|get +bgrewriteaof +client|list"


def own_address(port: int) -> str:
    """Address of the store that the stack runs itself, without user and password."""
    return f"redis://127.0.0.1:{port}/0"


def own_url(state_dir: Path, port: int, role: StoreRole) -> str:
    """The same with the role's user and password; without, where the store has no users yet. Raises OSError."""
    password = passwords(state_dir).get(role)
    return own_address(port) if password is None else f"redis://{role}:{password}@127.0.0.1:{port}/0"


def passwords(state_dir: Path) -> dict[str, str]:
    """Role -> password; empty where the store has none. Raises OSError, ValueError."""
    file = state_dir / PASSWORDS
    found: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def prepare(state_dir: Path, prefix: str) -> None:
    """Make the passwords that are missing, and write the server's file of users. Only their owner can read them.

    Args:
        prefix: the first part of every key; users reach no other keys.
    """
    known = passwords(state_dir)
    made: dict[str, str] = {role: known.get(role) or secrets.token_urlsafe(32) for role in ROLES}
    if made != known:
        _write(state_dir / PASSWORDS, json.dumps(made))
    _write(state_dir / ACL_FILE, acl(made, prefix))


def acl(made: dict[str, str], prefix: str) -> str:
    """The server's file of users: hashes of their passwords, and what each may do."""
    lines = ["user default off resetkeys resetchannels -@all"]
    for role in ROLES:
        commands = _OF_A_PERSON if role == "person" else " ".join(f"+{name}" for name in _BY_ROLE[role].split())
        digest = hashlib.sha256(made[role].encode()).hexdigest()
        lines.append(f"user {role} on #{digest} resetchannels ~{prefix}:* -@all {commands}")
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)

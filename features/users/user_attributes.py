"""Attributes of users, and the users in the order of their ids.

A user's attributes are one string beside the user's other keys. Each partition also keeps its users' ids in a sorted
set, in which a page of ids is found without looking at other users.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from configs.event_types import EventTypes
from data.fields.attributes import Value
from features.redis.connection import Command, StoreClient
from features.redis.keys import Keys

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user in a list; times are ms since the epoch, None for a user without events."""

    user_id: str
    events: int
    first_ms: int | None
    last_ms: int | None
    attributes: dict[str, Value]


@dataclass(frozen=True, slots=True)
class UserPage:
    """Users in the order of their ids' bytes.

    Attributes:
        total: of all users that begin with the prefix asked for; of those who became idle and expired, some may still
            be counted.
        last_id: the id after which the next page begins; None at the end.
    """

    users: list[ListedUser]
    total: int
    last_id: str | None


async def put_user_attributes(
    client: StoreClient, keys: Keys, users: Mapping[str, Mapping[str, Value]], only_new: bool = False
) -> None:
    """Write the checked attributes of users, each instead of all that the user had.

    Args:
        only_new: leave alone users who have attributes already (a data set being seeded again).

    Raises:
        StoreUnavailable, StoreFull: some may be written; repeat it.
    """
    condition = ("KEEPTTL", *(("NX",) if only_new else ()))  # an idle user's attributes end with the user
    commands: list[Command] = []
    for user_id, attributes in users.items():
        # The index first: an id without a user is passed over, and a user without its id would not be found
        commands.append(("ZADD", keys.users(keys.partition_of(user_id)), 0, user_id))
        key = keys.user_attributes(user_id)
        if attributes:
            commands.append(("SET", key, orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS), *condition))
        elif not only_new:
            commands.append(("SET", key, b"{}", "KEEPTTL"))
        if len(commands) >= CHUNK:
            await client.read(commands)
            commands = []
    await client.read(commands)


async def read_user_attributes(client: StoreClient, keys: Keys, user_id: str) -> dict[str, Value] | None:
    """A user's attributes; None where none were ever put. Raises `StoreError`."""
    raw = await client.run("GET", keys.user_attributes(user_id))
    return None if raw is None else orjson.loads(raw)


async def list_users(
    client: StoreClient, keys: Keys, types: EventTypes, limit: int, after: str | None = None, prefix: str = ""
) -> UserPage:
    """A page of users, in two round trips whose cost does not depend on how many users there are.

    Args:
        after: the `last_id` of the page before.
        prefix: only users whose id begins with it.

    Raises:
        StoreError: the store does not answer.
    """
    partitions = range(keys.partitions)
    lowest = b"[" + prefix.encode() if prefix else b"-"
    highest = b"(" + prefix.encode() + b"\xff" if prefix else b"+"  # no UTF-8 text holds the byte ff
    begin = lowest if after is None else b"(" + after.encode()
    answers = await client.read(
        [("ZRANGEBYLEX", keys.users(p), begin, highest, "LIMIT", 0, limit + 1) for p in partitions]
        + [("ZLEXCOUNT", keys.users(p), lowest, highest) for p in partitions]
    )
    found = sorted(user_id for answer in answers[: len(partitions)] for user_id in answer)
    ids = [user_id.decode() for user_id in found[:limit]]
    fields = ["first", "last", *(f"n{code}" for code in types.names)]
    rows = await client.read(
        [
            command
            for user_id in ids
            for command in (("HMGET", keys.user(user_id), *fields), ("GET", keys.user_attributes(user_id)))
        ]
    )
    users: list[ListedUser] = []
    gone: list[Command] = []
    for user_id, (first, last, *counts), raw in zip(ids, rows[::2], rows[1::2], strict=True):
        if first is None and raw is None:
            gone.append(("ZREM", keys.users(keys.partition_of(user_id)), user_id))
            continue
        attributes = {} if raw is None else orjson.loads(raw)
        events = sum(int(count or 0) for count in counts)
        users.append(ListedUser(user_id, events, _whole(first), _whole(last), attributes))
    await client.read(gone)
    total = sum(answers[len(partitions) :]) - len(gone)
    return UserPage(users, total, ids[-1] if len(found) > limit else None)


async def count_users(client: StoreClient, keys: Keys) -> int:
    """How many users there are; of those who became idle and expired, some may still be counted."""
    return sum(await client.read([("ZCARD", keys.users(partition)) for partition in range(keys.partitions)]))


async def index_users(client: StoreClient, keys: Keys) -> None:
    """Enter users into the index whom an earlier version of this program recorded; done once in a store's life.

    Raises:
        StoreError: the store does not answer; repeat it.
    """
    if await client.run("HGET", keys.meta, "users_indexed") is not None:
        return
    pattern = keys.pattern("u")
    found: list[str] = []
    async for key in client.scan(pattern):
        found.append(key.decode().partition("}:u:")[2])
        if len(found) == CHUNK:
            await client.read(_entries(keys, found))
            found = []
    await client.read(_entries(keys, found))
    await client.run("HSET", keys.meta, "users_indexed", 1)


def _entries(keys: Keys, user_ids: Iterable[str]) -> list[Command]:
    return [("ZADD", keys.users(keys.partition_of(user_id)), 0, user_id) for user_id in user_ids]


def _whole(raw: bytes | None) -> int | None:
    return None if raw is None else int(raw)

"""Jobs that exclude each other: one of compaction, rebuild, erasure and backup at a time, and one retraining."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from features.redis.connection import StoreClient, translate
from features.redis.errors import StoreBusy, StoreError, StoreFull, StoreUnavailable
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

NAME = "maintenance"
_TAKE = Script("locks/take_lock")
_RENEW = Script("locks/renew_lock")
_RELEASE = Script("locks/release_lock")
_POLL_S = 0.1
_NO_END, _NO_KEY = -1, -2  # what PTTL says


class Lock:
    """A held lock. Work that must not happen twice asks `check` right before it."""

    def __init__(self, client: StoreClient, key: str, token: str, ttl_s: float) -> None:
        self._client = client
        self._key = key
        self._token = token
        self._ttl_ms = int(ttl_s * 1000)

    async def check(self) -> None:
        """Renew the lock. Raises `StoreBusy` when it was lost: this process stood still longer than it lasts."""
        if not await run_script(self._client, _RENEW, [self._key], [self._token, self._ttl_ms]):
            raise StoreBusy("the lock was lost, since this process stood still for too long; run the job again")

    async def release(self) -> None:
        await run_script(self._client, _RELEASE, [self._key], [self._token])


@asynccontextmanager
async def maintenance(
    client: StoreClient, keys: Keys, holder: str, wait_s: float = 0.0, ttl_s: float = 30.0
) -> AsyncIterator[Lock]:
    """Hold the lock of maintenance; see `exclusive`."""
    busy = "{} is at work on the store; try again when it has finished"
    async with exclusive(client, keys.lock(NAME), holder, busy, wait_s, ttl_s) as lock:
        yield lock


@asynccontextmanager
async def exclusive(
    client: StoreClient,
    key: str,
    holder: str,
    busy: str,
    wait_s: float = 0.0,
    ttl_s: float = 30.0,
    outlive_dead: bool = False,
) -> AsyncIterator[Lock]:
    """Hold the lock under `key`.

    Args:
        holder: who asks, without a colon, for the message to whoever comes second.
        busy: that message, with {} for the holder.
        wait_s: how long to wait for another holder.
        ttl_s: a killed holder's lock ends after this.
        outlive_dead: wait beyond `wait_s` for a lock that nobody renews, since its holder was killed, to end.

    Raises:
        StoreBusy: another held it all the time, and lives where that was asked; names it.
    """
    token = f"{holder}:{secrets.token_hex(8)}"
    lock = Lock(client, key, token, ttl_s)
    renewing: asyncio.Task[None] | None = None
    try:
        await _acquire(client, key, token, busy, wait_s, ttl_s, outlive_dead)
        renewing = asyncio.create_task(_renew(lock, ttl_s / 3))
        yield lock
    finally:
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        # Also when the wait was cancelled: the answer may have been under way. A store that is down ends it by its time
        with suppress(StoreUnavailable):
            await lock.release()


async def _acquire(
    client: StoreClient, key: str, token: str, busy: str, wait_s: float, ttl_s: float, outlive_dead: bool
) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_s
    ends: dict[bytes, float] = {}  # holder -> when its lock ends at the latest, unless it is renewed
    while not await _take(client, key, token, int(ttl_s * 1000)):
        asked = clock()
        other, left_ms = await client.read([("GET", key), ("PTTL", key)])
        if other == token.encode():
            return  # An answer was lost on the way, and the repeat met its own lock.
        ended = other is None or left_ms == _NO_KEY
        if clock() >= deadline and not ended:
            # The answer's way takes a while: what is left was measured between the two looks at the clock.
            latest = ends.setdefault(other, clock() + left_ms / 1000 + _POLL_S)
            renewed = left_ms == _NO_END or asked + left_ms / 1000 > latest
            if renewed or len(ends) > 1 or not outlive_dead:
                raise StoreBusy(busy.format(other.decode().partition(":")[0]))
        await asyncio.sleep(_POLL_S)


async def _take(client: StoreClient, key: str, token: str, ttl_ms: int) -> bool:
    """Whether the lock is ours now. A full store refuses SET; its script may, from Redis 7 on, which knows the flag.

    It goes by the connection by which the lock is given back: by another one it could arrive after that, where whoever
    asks is cancelled.
    """
    (answer,) = await client.exchange([("SET", key, token, "NX", "PX", ttl_ms)])
    if not isinstance(answer, BaseException):
        return bool(answer)
    error = translate(answer)
    if isinstance(error, StoreFull):
        return bool(await run_script(client, _TAKE, [key], [token, ttl_ms]))
    raise error from answer


async def _renew(lock: Lock, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await lock.check()
        except StoreBusy:
            return  # the lock is lost; the holder's next `check` says so
        except StoreError:
            continue  # a pause of the store; the lock may still be ours

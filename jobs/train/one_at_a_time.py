"""One retraining at a time, however it was started: a second one is refused and told the first one's id."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from configs.settings import Settings
from features.redis.lock import exclusive
from features.redis.session import store_session

LOCK = "retraining"
_BUSY = "{} is retraining already; try again when it has finished"


def job_id() -> str:
    """The Ray job that this process is, or the process where it was started by hand."""
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    submitted = (config.get("metadata") or {}).get("job_submission_id")
    return f"job {submitted}" if submitted else f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def only_retraining(settings: Settings) -> Iterator[None]:
    """Hold the lock while training; a thread keeps it alive, since training itself blocks.

    The lock that a killed retraining left is waited for: whoever asked for the next one was told that it is accepted.

    Args:
        settings: where the store is, and after how long the lock of a killed retraining ends (`training.lock_s`).

    Raises:
        StoreBusy: another retraining runs; names it.
        StoreError: the store does not answer.
    """
    entered, leave = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def hold() -> None:
        async with (
            store_session(settings) as (client, keys),
            exclusive(client, keys.lock(LOCK), job_id(), _BUSY, ttl_s=settings.training.lock_s, outlive_dead=True),
        ):
            entered.set()
            await asyncio.to_thread(leave.wait)

    def run() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # noqa: BLE001 - the training must not go on without the lock, whatever went wrong
            failed.append(error)
        finally:
            entered.set()

    thread = threading.Thread(target=run, name="retraining lock", daemon=True)
    thread.start()
    entered.wait()
    if failed:
        raise failed[0]
    try:
        yield
    finally:
        leave.set()
        thread.join()

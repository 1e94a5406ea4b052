"""A compaction from start to end: its own connection, the maintenance lock, the drain."""

from configs.settings import Settings
from data.event_log import EventLog
from features.redis.layout import check_layout
from features.redis.lock import maintenance
from features.redis.session import store_session
from features.streams.drain import Drained, drain

LOCK_S = 30.0


async def compact(
    settings: Settings, wait_s: float = 60.0, lock_s: float = LOCK_S, chunk_rows: int = 20_000
) -> Drained:
    """Wait for other maintenance, then drain the streams into the log.

    Raises:
        StoreBusy: another job held the lock for longer than `wait_s`.
        StoreUnavailable: the store does not answer.
    """
    async with store_session(settings) as (client, keys):
        await check_layout(client, keys)
        async with maintenance(client, keys, "compaction", wait_s, lock_s) as lock:
            return await drain(client, keys, EventLog(settings.log_dir), lock, chunk_rows)

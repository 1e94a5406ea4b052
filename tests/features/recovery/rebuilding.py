"""A small data set's past, and what tests do with it: record, drain and rebuild."""

from data.dataset import Dataset
from data.event_log import EventLog
from data.fields.attributes import AttributeType
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.recovery.rebuild import Rebuilt, rebuild
from features.redis.lock import maintenance
from features.streams.drain import drain

START_MS = 1_780_000_000_000


CATEGORIES = {f"i{n}": [["Drama"], ["War", "Drama"], []][n % 3] for n in range(30)}


ITEM_ATTRIBUTES: dict[str, AttributeType] = {
    "brand": "keyword",
    "colours": "keywords",
    "price": "number",
    "new": "flag",
    "since": "time",
}


def live(number: int) -> Event:
    item = f"i{number % 30}"
    time_ms = START_MS + (number * 7919) % 100 * 60_000
    kind = ("like", "click", "dislike", "view")[number % 4]
    return Event(f"e{number}", f"u{number % 9}", item, kind, time_ms, categories=tuple(CATEGORIES[item]))


async def run(store: OnlineStore, log: EventLog, dataset: Dataset | None) -> Rebuilt:
    async with maintenance(store.client, store.keys, "rebuild") as lock:
        return await rebuild(store, log, dataset, lock)


async def drained(store: OnlineStore, log: EventLog) -> None:
    async with maintenance(store.client, store.keys, "compaction") as lock:
        await drain(store.client, store.keys, log, lock)

"""What of the clients' events is in the store's streams, in the log and in the users' counts."""

import asyncio
from collections import Counter
from dataclasses import dataclass

import httpx
import orjson

from configs.settings import Settings
from data.event_log import EventLog
from features.redis.connection import connect
from features.redis.layout import keys_of

PAGE = 5000


@dataclass(frozen=True)
class Found:
    """Events of one tag.

    Attributes:
        times: event id -> how often streams and log hold it.
        by_user: user id -> how many distinct ones.
        counted: user id -> clicks that the user's features count.
    """

    times: Counter[str]
    by_user: Counter[str]
    counted: dict[str, int]

    def lost(self, acknowledged: set[str]) -> int:
        return len(acknowledged - self.times.keys())

    def doubled(self) -> int:
        return sum(times > 1 for times in self.times.values())

    def miscounted(self) -> int:
        """Users whose features count something else than what was recorded of them."""
        return sum(self.counted[user] != number for user, number in self.by_user.items())


def find_events(settings: Settings, url: str, tag: str) -> Found:
    """Look for the events whose ids start with `tag`, and ask for the counts of their users.

    Raises:
        StoreError: the store does not answer.
        httpx.HTTPError: the API does not.
    """
    owner: dict[str, str] = {}
    times = asyncio.run(_streamed(settings, tag, owner))
    for table in EventLog(settings.log_dir).tables("events"):
        for event_id, user_id in zip(table["event_id"].to_pylist(), table["user_id"].to_pylist(), strict=True):
            if event_id.startswith(tag):
                times[event_id] += 1
                owner[event_id] = user_id
    by_user = Counter(owner.values())
    counted = {}
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        for user in by_user:
            counted[user] = http.get(f"/api/v1/users/{user}").raise_for_status().json()["events"].get("click", 0)
    return Found(times, by_user, counted)


async def _streamed(settings: Settings, tag: str, owner: dict[str, str]) -> Counter[str]:
    found: Counter[str] = Counter()
    client, keys = connect(settings.patient_store, settings.store_url), keys_of(settings.store)
    try:
        for partition in range(keys.partitions):
            first = "-"
            while entries := await client.run("XRANGE", keys.events(partition), first, "+", "COUNT", PAGE):
                for _, fields in entries:
                    event = orjson.loads(fields[b"e"])
                    if event["event_id"].startswith(tag):
                        found[event["event_id"]] += 1
                        owner[event["event_id"]] = event["user_id"]
                first = f"({entries[-1][0].decode()}"
    finally:
        await client.aclose()
    return found

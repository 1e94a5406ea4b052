"""What all users did with an item: the sums of its partitions' shares, read as they lie there."""

from dataclasses import dataclass

from configs.decay import ACTIVITY_HALF_LIVES_MS
from configs.event_types import EventTypes
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.users.user_features import decayed_sums


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """One item; times are ms since the epoch, None where there was no event."""

    events: dict[str, int]
    """Events by type, all that were ever recorded."""
    exposures: int
    """Lists on which the item was shown."""
    popularity: dict[str, float]
    """Preference confidence decayed by half-lives of 1 h, 1 day and 7 days."""
    first_ms: int | None
    last_ms: int | None


async def read_item_features(
    client: StoreClient, keys: Keys, types: EventTypes, item_id: str, at_ms: int
) -> ItemFeatures:
    """Sum an item's counters over the partitions, in one round trip.

    Args:
        at_ms: the moment to which popularity is decayed.

    Raises:
        StoreUnavailable: no answer.
    """
    shares = await client.read([("HGETALL", keys.item(partition, item_id)) for partition in range(keys.partitions)])
    events: dict[str, int] = {}
    popularity = dict.fromkeys(ACTIVITY_HALF_LIVES_MS, 0.0)
    for share in shares:
        for code, name in types.names.items():
            if count := share.get(b"n%d" % code):
                events[name] = events.get(name, 0) + int(count)
        if packed := share.get(b"pop"):
            for window, value in decayed_sums(packed, at_ms).items():
                popularity[window] += value
    return ItemFeatures(
        events=events,
        exposures=sum(int(share.get(b"exposures", 0)) for share in shares),
        popularity=popularity,
        first_ms=min((int(share[b"first"]) for share in shares if b"first" in share), default=None),
        last_ms=max((int(share[b"last"]) for share in shares if b"last" in share), default=None),
    )

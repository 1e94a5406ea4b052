"""The store of a job's test, as a client sees it."""

from configs.event_types import load_event_types
from configs.settings import Settings
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of


def opened(settings: Settings) -> OnlineStore:
    client = connect(settings.store, settings.store_url)
    return OnlineStore(client, keys_of(settings.store), settings.store, load_event_types())

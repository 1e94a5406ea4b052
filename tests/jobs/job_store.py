"""The store of a job's test, as a client sees it."""

from configs.event_types import load_event_types
from configs.settings import Settings
from features.connection import connect
from features.layout import keys_of
from features.store import OnlineStore


def opened(settings: Settings) -> OnlineStore:
    client = connect(settings.store, settings.store_url)
    return OnlineStore(client, keys_of(settings.store), settings.store, load_event_types())

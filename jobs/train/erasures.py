"""Users who asked to be forgotten: the data set on disk still names them, so a training has to leave them out."""

from configs.settings import Settings
from features.redis.session import with_store
from features.users.erasure import Erasures, read_erasures


def current_erasures(settings: Settings) -> Erasures:
    """The tombstones of the online store. Raises `features.redis.errors.StoreError`."""
    return with_store(settings, lambda client, keys: read_erasures(client, keys, settings.log_dir))

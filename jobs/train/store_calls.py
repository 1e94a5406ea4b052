"""Reading and setting the model slots, and telling a result, from a job, which has no event loop of its own."""

from configs.settings import Settings
from features.redis.session import with_store
from features.serving.retraining_run import RunResult, keep_result
from features.serving.slots import Slot, read_slots, set_slot


def current_slots(settings: Settings) -> dict[str, Slot]:
    """The slots that serve something. Raises `features.redis.errors.StoreError`."""
    return with_store(settings, read_slots)


def point_slot(settings: Settings, name: str, version: str, uri: str, reason: str) -> None:
    """Let a slot serve a version. Raises `features.redis.errors.StoreError`."""
    with_store(settings, lambda client, keys: set_slot(client, keys, name, version, uri, reason))


def tell_result(settings: Settings, run_id: str, result: RunResult) -> None:
    """Say what a retraining found. Raises `features.redis.errors.StoreError`."""
    with_store(settings, lambda client, keys: keep_result(client, keys, run_id, result))

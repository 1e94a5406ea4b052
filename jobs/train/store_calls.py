"""Reading and changing the serving state, and telling a result, from a job, which has no event loop of its own."""

from configs.settings import Settings
from features.redis.session import with_store
from features.serving.aliases import move_aliases
from features.serving.promotion import set_slot
from features.serving.retraining_run import keep_result
from features.serving.run_record import RunResult
from features.serving.serving_state import ServingState, read_state
from features.serving.slots import Slot, read_slots
from jobs.train.mlflow_registry import MlflowRegistry, RegistryUnavailable


def current_slots(settings: Settings) -> dict[str, Slot]:
    """The slots that serve something. Raises `features.redis.errors.StoreError`."""
    return with_store(settings, read_slots)


def current_state(settings: Settings) -> ServingState:
    """All that decides what users get. Raises `features.redis.errors.StoreError`."""
    return with_store(settings, read_state)


def point_slot(
    settings: Settings, name: str, version: str, uri: str, reason: str, who: str, seen: int | None = None
) -> None:
    """Let a slot serve a version, see `set_slot`.

    Raises:
        StateConflictError: the slot is in use, or was changed after `seen`.
        StoreError: the slot could not be set.
    """
    with_store(settings, lambda client, keys: set_slot(client, keys, name, version, uri, reason, who=who, seen=seen))


def follow_slots(settings: Settings) -> str | None:
    """Let the registry's aliases name what the slots serve. Returns what is in the way; autopilot makes up for it."""
    try:
        registry = MlflowRegistry(settings)
    except RegistryUnavailable as error:
        return str(error)
    return with_store(settings, lambda client, keys: move_aliases(client, keys, registry.point))[1]


def tell_result(settings: Settings, run_id: str, result: RunResult) -> None:
    """Say what a retraining found. Raises `features.redis.errors.StoreError`."""
    with_store(settings, lambda client, keys: keep_result(client, keys, run_id, result))

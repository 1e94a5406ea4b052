"""Model versions as an operator sees them: what each is, where it serves, and moving the slots."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from configs.settings import Settings
from deployments.http.errors import ApiError
from deployments.http.schemas import iso_time
from deployments.operations.model_registry import ModelRegistry, RegisteredVersion, RegistryAway
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving import promotion
from features.serving.promotion import AlreadyServedError, NothingBeforeError, PromotionError, UnknownVersionError
from features.serving.serving_state import PERSON, StateConflictError, StateMovedError
from features.serving.slots import CHAMPION, SLOTS, Slot, SlotName, read_decisions, read_slots
from models.bundle.arrays import BundleError
from models.bundle.manifest import Manifest
from models.bundle.reading import list_bundles, read_manifest

_LOOKED_BACK = 1000
A_PERSON = "a person asked for it"


class SlotView(BaseModel):
    """What a slot serves."""

    version: str
    since: str
    reason: str
    who: str | None = Field(
        description="who decided it: a person, `key` with the name of an API key, autopilot, the first start, a "
        "retraining that passed its gate; null where an earlier release did"
    )


class ModelVersion(BaseModel):
    """One version of the model. What its manifest would tell is null where the bundle is gone or damaged."""

    model_config = ConfigDict(protected_namespaces=())

    version: str
    slots: list[str] = Field(description="slots that serve it now")
    available: bool = Field(description="its bundle is on disk, so that it can be served")
    problem: str | None = Field(description="why it cannot be served")
    manifest: Manifest | None = Field(description="metrics, parameters, data, sizes, files")
    created_at: str | None
    size_mb: float | None
    registry: RegisteredVersion | None = Field(description="null where the registry is away or does not know it")


class RegistryState(BaseModel):
    available: bool
    detail: str
    url: str | None = Field(description="the registered model's page")


class ModelsAnswer(BaseModel):
    """All versions of the model, the newest first, with the slots and what the registry says."""

    models: list[ModelVersion]
    slots: dict[str, SlotView] = Field(description="those that serve something")
    slot_names: list[str] = Field(description="all slots that there are")
    rollback_to: str | None = Field(description="the version that a rollback would serve; null: there is none")
    registry: RegistryState
    ray_dashboard: str


class PromoteRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    slot: SlotName = "champion"
    reason: StrictStr = Field(A_PERSON, min_length=1, max_length=500, description="written into the timeline")


class RollbackRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expected: StrictStr | None = Field(
        None, max_length=200, description="refuse if the champion is not this version: a repeated click goes back once"
    )
    reason: StrictStr = Field(A_PERSON, min_length=1, max_length=500, description="written into the timeline")


class ClearRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: StrictStr = Field(A_PERSON, min_length=1, max_length=500, description="written into the timeline")


class SlotChange(BaseModel):
    """What a slot serves after the change."""

    slot: str
    version: str | None
    previous: str | None
    registry_problem: str | None = Field(description="why the registry's alias was not moved; the slot was")


class ModelVersions:
    """Reads versions and moves slots.

    Args:
        settings: where the bundles and the registry are.
        client, keys: the online store, which holds the slots.
    """

    def __init__(self, settings: Settings, client: StoreClient, keys: Keys) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._registry = ModelRegistry(settings)
        self._read: dict[str, tuple[Manifest, float]] = {}  # A manifest is read once, since bundles never change.

    async def answer(self) -> ModelsAnswer:
        """All versions with what bundles, slots and registry know of them. Raises `StoreError`."""
        slots = await read_slots(self._client, self._keys)
        decisions = await read_decisions(self._client, self._keys, limit=_LOOKED_BACK)
        registered, registry = await self._registered()
        models = await asyncio.to_thread(self._bundles, registered, slots)
        on_disk = {model.version for model in models}
        models += [
            _gone(version, registered.get(version), slots)
            for version in sorted({*registered, *(slot.version for slot in slots.values())} - on_disk)
        ]
        return ModelsAnswer(
            models=sorted(models, key=lambda model: model.version, reverse=True),
            slots={name: slot_view(slot) for name, slot in slots.items()},
            slot_names=list(SLOTS),
            rollback_to=promotion.earlier([decision for decision in decisions if decision.slot == CHAMPION]),
            registry=registry,
            ray_dashboard=f"http://127.0.0.1:{self._settings.ports.dashboard}",
        )

    async def promote(self, version: str, request: PromoteRequest, who: str = PERSON) -> SlotChange:
        """Let a slot serve a version. Raises ApiError 404, 409, 422 and `StoreError`."""
        with _errors():
            previous = await promotion.promote(
                self._client, self._keys, self._settings.bundles_dir, version, request.reason, request.slot, who
            )
        return await self._changed(request.slot, version, previous)

    async def rollback(self, request: RollbackRequest, who: str = PERSON) -> SlotChange:
        """Let the champion serve what it served before. Raises ApiError 409 and `StoreError`."""
        with _errors():
            version, previous = await promotion.roll_back(
                self._client, self._keys, self._settings.bundles_dir, request.reason, request.expected, who
            )
        return await self._changed(CHAMPION, version, previous)

    async def clear(self, slot: str, request: ClearRequest, who: str = PERSON) -> SlotChange:
        """Let a challenger's slot serve nothing. Raises ApiError 404, 409 and `StoreError`."""
        if slot not in SLOTS:
            raise ApiError(404, "not_found", f"there is no slot {slot!r}; there are {', '.join(SLOTS)}", "slot")
        if slot == CHAMPION:
            raise ApiError(409, "conflict", "the champion slot always serves: promote another version", "slot")
        with _errors():
            previous = await promotion.clear_slot(self._client, self._keys, slot, request.reason, who=who)
        return await self._changed(slot, None, previous)

    async def _changed(self, slot: str, version: str | None, previous: str | None) -> SlotChange:
        problem = await self._registry.follow(self._client, self._keys)
        return SlotChange(slot=slot, version=version, previous=previous, registry_problem=problem)

    async def _registered(self) -> tuple[dict[str, RegisteredVersion], RegistryState]:
        url = self._registry.web_url
        try:
            found = await self._registry.versions()
        except RegistryAway as error:
            return {}, RegistryState(available=False, detail=str(error), url=url)
        return found, RegistryState(available=True, detail=f"{len(found)} version(s) registered", url=url)

    def _bundles(self, registered: dict[str, RegisteredVersion], slots: dict[str, Slot]) -> list[ModelVersion]:
        models = []
        for path in list_bundles(self._settings.bundles_dir):
            manifest, size_mb, problem = None, None, None
            try:
                manifest, size_mb = self._manifest(path)
            except BundleError as error:
                problem = str(error)
            models.append(
                ModelVersion(
                    version=path.name,
                    slots=_serving(path.name, slots),
                    available=problem is None,
                    problem=problem,
                    manifest=manifest,
                    created_at=iso_time(manifest.created_ms) if manifest else None,
                    size_mb=size_mb,
                    registry=registered.get(path.name),
                )
            )
        return models

    def _manifest(self, path: Path) -> tuple[Manifest, float]:
        found = self._read.get(path.name)
        if found is None:
            size_mb = sum(file.stat().st_size for file in path.iterdir()) / 1e6
            found = self._read[path.name] = (read_manifest(path), round(size_mb, 2))
        return found


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except StateMovedError as error:
        raise ApiError(409, "conflict", str(error), "expected") from None
    except StateConflictError as error:
        raise ApiError(409, "conflict", str(error)) from None
    except UnknownVersionError as error:
        raise ApiError(404, "not_found", str(error), "version") from None
    except NothingBeforeError as error:
        raise ApiError(409, "conflict", str(error)) from None
    except AlreadyServedError as error:
        raise ApiError(409, "conflict", str(error), "version") from None
    except PromotionError as error:
        raise ApiError(422, "invalid_field", str(error), "version") from None


def slot_view(slot: Slot) -> SlotView:
    return SlotView(version=slot.version, since=iso_time(slot.since_ms), reason=slot.reason, who=slot.who)


def _serving(version: str, slots: dict[str, Slot]) -> list[str]:
    return sorted(name for name, slot in slots.items() if slot.version == version)


def _gone(version: str, entry: RegisteredVersion | None, slots: dict[str, Slot]) -> ModelVersion:
    return ModelVersion(
        version=version,
        slots=_serving(version, slots),
        available=False,
        problem="its bundle is no longer on disk",
        manifest=None,
        created_at=None,
        size_mb=None,
        registry=entry,
    )

"""The model registry over MLflow's REST interface: what it says is shown, and its aliases follow the slots.

MLflow's own client is never imported here, and nothing depends on the registry: it may be away at any time.
"""

import contextlib
from typing import Any

import httpx
from pydantic import BaseModel, Field

from configs.addresses import without_credentials
from configs.settings import Settings
from deployments.http import outgoing
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.aliases import move_aliases

BUNDLE_TAG = "bundle_version"
REACH_S = 2.0
_API = "/api/2.0/mlflow"
_KEPT = 200


class RegistryAway(Exception):  # noqa: N818 - it names a state, which serving survives
    """The registry does not answer, or refuses; the message says which address and why."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class RegisteredVersion(BaseModel):
    """What the registry says of a bundle's version."""

    number: str = Field(description="of the model version in the registry")
    aliases: list[str]
    reason: str | None = Field(description="why it was trained")
    gate: str | None = Field(description="what the gate said when it was trained")
    url: str = Field(description="its page in the registry, which leads to the run")


class ModelRegistry:
    """Reads and changes the registered model that the settings name.

    Args:
        settings: the address of the registry and the name of the model (`tracking`).
    """

    def __init__(self, settings: Settings) -> None:
        self.uri = settings.tracking_uri.rstrip("/")
        self._shown = without_credentials(self.uri)
        self._model = settings.tracking.model
        self._is_server = self.uri.startswith(("http://", "https://"))

    async def problem(self) -> str | None:
        """What is wrong with the registry; None where it answers, or is no server."""
        if not self._is_server:
            return None
        with contextlib.suppress(httpx.HTTPError):
            async with outgoing.client(REACH_S) as http:
                if (await http.get(f"{self.uri}/health")).status_code == 200:
                    return None
        return f"{self._shown} does not answer; a training goes on and delivers later"

    @property
    def web_url(self) -> str | None:
        """The page of the registered model; None where the registry is no server."""
        return f"{self._shown}/#/models/{self._model}" if self._is_server else None

    async def versions(self) -> dict[str, RegisteredVersion]:
        """Bundle version -> its latest entry in the registry. Raises `RegistryAway`."""
        try:
            return await self._versions()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RegistryAway(f"{self._shown} answers what no MLflow answers: {error!r}") from error

    async def _versions(self) -> dict[str, RegisteredVersion]:
        aliases = await self._aliases()
        found = await self._ask(
            "GET",
            "/model-versions/search",
            params={"filter": f"name='{self._model}'", "max_results": _KEPT, "order_by": "version_number ASC"},
        )
        return {
            version: self._entry(entry, aliases)
            for entry in found.get("model_versions", [])
            if (version := _tags(entry).get(BUNDLE_TAG)) is not None
        }

    async def follow(self, client: StoreClient, keys: Keys) -> str | None:
        """Let the aliases name what the slots serve. Returns what is in the way. Raises `StoreError`."""
        return (await move_aliases(client, keys, self.point))[1]

    async def point(self, alias: str, version: str | None) -> str | None:
        """Let an alias name a bundle version, or remove it. Returns what is in the way: the registry does not know the
        version, does not answer, or refuses."""
        content = {"name": self._model, "alias": alias}
        try:
            if version is None:
                await self._ask("DELETE", "/registered-models/alias", json=content)
                return None
            entry = (await self.versions()).get(version)
            if entry is None:
                return f"{self._shown}: version {version} is not registered there"
            await self._ask("POST", "/registered-models/alias", json={**content, "version": entry.number})
        except RegistryAway as error:
            return str(error)
        return None

    async def _aliases(self) -> dict[str, list[str]]:
        found = await self._ask("GET", "/registered-models/search", params={"filter": f"name='{self._model}'"})
        named: dict[str, list[str]] = {}
        for model in found.get("registered_models", []):
            for alias in model.get("aliases", []):
                named.setdefault(alias["version"], []).append(alias["alias"])
        return named

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        if not self._is_server:
            raise RegistryAway(f"{self._shown} is not a server that could be asked")
        try:
            async with outgoing.client(REACH_S) as http:
                answer = await http.request(method, f"{self.uri}{_API}{path}", **options)
                answer.raise_for_status()
                content: dict[str, Any] = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            words = (str(error) or type(error).__name__).replace(self.uri, self._shown)
            raise RegistryAway(f"{self._shown}: {words}") from error
        return content

    def _entry(self, entry: dict[str, Any], aliases: dict[str, list[str]]) -> RegisteredVersion:
        tags = _tags(entry)
        return RegisteredVersion(
            number=entry["version"],
            aliases=sorted(aliases.get(entry["version"], [])),
            reason=tags.get("reason"),
            gate=tags.get("gate"),
            url=f"{self._shown}/#/models/{self._model}/versions/{entry['version']}",
        )


def _tags(entry: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in entry.get("tags", [])}

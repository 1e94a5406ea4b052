"""What the health says, of a real store and of registries that are away."""

from pathlib import Path

import pytest

from configs.settings import Settings, Store
from deployments.operations.health import HealthProbe
from deployments.operations.model_registry import ModelRegistry, RegistryAway
from features.redis.connection import StoreClient
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "uri",
    ["http://ada:s3cret@127.0.0.1:1", "http://s3cret@127.0.0.1:1/?token=s3cret", "postgresql://ada:s3cret@db/mlflow"],
)
async def test_no_password_of_the_registry_is_told(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys, uri: str
) -> None:
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": uri})
    told = (await HealthProbe(settings, client, keys).check()).model_dump_json()
    assert uri.rpartition("@")[2].partition("/")[0] in told
    registry = ModelRegistry(settings)
    with pytest.raises(RegistryAway) as refused:
        await registry.versions()
    assert "s3cret" not in f"{told} {refused.value} {registry.web_url} {await registry.problem()}"

"""`serve_config.yaml` against Serve's own schema: Serve accepts misspelt keys silently, this does not."""

from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from ray.serve._private.build_app import build_app
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    LoggingConfig,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from configs.settings import PROJECT_DIR, Settings, SettingsError, load_settings
from deployments import apps
from deployments.local.serve_control import ServeControl

CONFIG: dict[str, Any] = yaml.safe_load((PROJECT_DIR / "serve_config.yaml").read_text())


def unknown_keys(given: dict[str, Any], schema: type[BaseModel]) -> set[str]:
    return set(given) - set(schema.model_fields)


def test_every_key_is_one_that_serve_knows() -> None:
    assert not unknown_keys(CONFIG, ServeDeploySchema)
    assert not unknown_keys(CONFIG["http_options"], HTTPOptionsSchema)
    assert not unknown_keys(CONFIG["logging_config"], LoggingConfig)
    for application in CONFIG["applications"]:
        assert not unknown_keys(application, ServeApplicationSchema)
        for deployment in application["deployments"]:
            assert not unknown_keys(deployment, DeploymentSchema)
    ServeDeploySchema.model_validate(CONFIG)


@pytest.mark.parametrize("application", CONFIG["applications"], ids=lambda application: application["name"])
def test_the_named_deployments_are_those_that_the_builder_makes(application: dict[str, Any]) -> None:
    module, _, name = application["import_path"].partition(":")
    assert module == "deployments.apps"
    builder = getattr(apps, name)
    args = builder.__annotations__["args"].model_validate(application["args"])
    built = build_app(builder(args), name=application["name"])
    assert {deployment.name for deployment in built.deployments} == {d["name"] for d in application["deployments"]}


def test_everything_listens_on_loopback_only() -> None:
    assert CONFIG["http_options"]["host"] == "127.0.0.1"


def test_every_queue_is_bounded() -> None:
    for application in CONFIG["applications"]:
        for deployment in application["deployments"]:
            assert deployment["max_queued_requests"] > 0, deployment["name"]
            assert deployment["max_ongoing_requests"] > 0, deployment["name"]


def fewest_replicas(settings: Settings) -> dict[str, int]:
    rendered = yaml.safe_load(ServeControl(settings, print).rendered())
    ServeDeploySchema.model_validate(rendered)
    return {
        deployment["name"]: deployment.get("autoscaling_config", {}).get("min_replicas", deployment.get("num_replicas"))
        for application in rendered["applications"]
        for deployment in application["deployments"]
    }


def test_the_production_profile_has_pairs_of_all_that_somebody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(fewest_replicas(load_settings()).values()) == {0, 1}
    monkeypatch.setenv("PROFILE", "production")
    assert fewest_replicas(load_settings()) == {
        "RankingDeployment": 2,
        "Retrieval-champion": 2,
        "Retrieval-challenger": 0,
        "Retrieval-challenger-2": 0,
        "IngestionDeployment": 2,
        "ConsoleDeployment": 2,
        "AutopilotDeployment": 1,
    }
    monkeypatch.setenv("PROFILE", "big")
    with pytest.raises(SettingsError, match=r"serving\.profile"):
        load_settings()

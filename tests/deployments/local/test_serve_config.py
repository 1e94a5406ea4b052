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

from configs.settings import PROJECT_DIR
from deployments import apps

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

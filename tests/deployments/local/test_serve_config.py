"""`serve_config.yaml` against Serve's own schema: Serve accepts misspelt keys silently, this does not."""

from pathlib import Path
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
from configs.versions.code import code_fingerprint
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


def test_code_that_came_while_ray_runs_reaches_every_application(tmp_path: Path) -> None:
    """Serve replaces replicas where the text of an application changes, and Ray reuses no process of another one."""
    control = ServeControl(Settings(state_dir=tmp_path), print)
    (tmp_path / "run").mkdir()
    plain = control.rendered()
    control.ray_starts()
    assert control.rendered() == plain
    control.deployed.write_text(plain)
    assert not control.changed()
    (tmp_path / "run" / "code").write_text("another")
    assert control.changed()
    applications = yaml.safe_load(control.rendered())["applications"]
    named = {application["runtime_env"]["env_vars"]["RAYCOMMEND_CODE"] for application in applications}
    assert named == {code_fingerprint()}
    assert len(applications) == 3
    for application in applications:
        ServeApplicationSchema.model_validate(application)


def test_the_code_of_a_ray_that_an_earlier_version_started_is_unknown(tmp_path: Path) -> None:
    control = ServeControl(Settings(state_dir=tmp_path), print)
    (tmp_path / "run").mkdir()
    control.deployed.write_text(control.rendered())
    control.ray_runs()
    assert control.changed()
    control.ray_starts()
    control.ray_runs()
    assert not control.changed()


def test_a_changed_line_is_other_code_and_another_place_is_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "features" / "redis").mkdir(parents=True)
        (tmp_path / name / "features" / "redis" / "write.lua").write_text("return 1")
        (tmp_path / name / "features" / "notes.txt").write_text(name)
    assert code_fingerprint(tmp_path / "one") == code_fingerprint(tmp_path / "two")
    (tmp_path / "two" / "features" / "redis" / "write.lua").write_text("return 2")
    assert code_fingerprint(tmp_path / "one") != code_fingerprint(tmp_path / "two")

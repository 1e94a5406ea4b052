"""The environments' files are settings, and a missing secret stops before anything starts."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from configs.environments.environment import ENVIRONMENTS, FOLDER, SECRETS
from configs.settings import PROJECT_DIR, Settings, SettingsError, load_settings, ray_token

KEYS = json.dumps([{"name": "shop", "sha256": hashlib.sha256(b"key").hexdigest(), "scopes": ["recommend"]}])
GIVEN = {
    "REDIS_URL": "redis://:s3cret@store:6379/0",
    "MLFLOW_TRACKING_URI": "http://raycommend:s3cret@mlflow:5000",
    "RAYCOMMEND_SECURITY_KEYS": KEYS,
    "RAYCOMMEND_ALERTS_WEBHOOK": "https://alerts.example/s3cret",
}


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("RAYCOMMEND_") or name.removesuffix("_FILE") in GIVEN:
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAYCOMMEND_DATASET_DIR", str(tmp_path / "data"))


def needed(environment: str) -> list[str]:
    secrets: list[str] = yaml.safe_load((FOLDER / f"{environment}.yaml").read_text())["secrets"]
    return secrets


def test_there_is_a_file_for_each_environment_and_no_other() -> None:
    assert {file.name for file in FOLDER.glob("*.yaml")} == {f"{name}.yaml" for name in ENVIRONMENTS}
    assert set(GIVEN) == set(SECRETS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_with_its_secrets_is_a_whole_of_settings(
    environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCOMMEND_ENVIRONMENT", environment)
    for name in needed(environment):
        monkeypatch.setenv(name, GIVEN[name])
    settings = load_settings()
    assert settings.environment == environment
    assert settings.serving.host == "0.0.0.0"
    assert settings.security.asks
    assert settings.serving.profile == ("laptop" if environment == "dev" else "production")


@pytest.mark.parametrize(
    ("environment", "secret"), [(name, secret) for name in ENVIRONMENTS for secret in needed(name)]
)
def test_a_missing_secret_is_named_before_anything_starts(environment: str, secret: str) -> None:
    given = {name: value for name, value in GIVEN.items() if name != secret}
    ran = subprocess.run(
        [sys.executable, "-m", "configs"],
        cwd=PROJECT_DIR,
        env={"PATH": os.environ["PATH"], "RAYCOMMEND_ENVIRONMENT": environment, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 2
    assert f"the secret {secret} is missing: set {secret}, or {secret}_FILE" in ran.stderr
    assert "s3cret" not in ran.stdout + ran.stderr


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYCOMMEND_ENVIRONMENT", "production")
    for name, value in GIVEN.items():
        (tmp_path / name).write_text(value + "\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    settings = load_settings()
    assert settings.store.url == GIVEN["REDIS_URL"]
    assert settings.tracking.uri == GIVEN["MLFLOW_TRACKING_URI"]
    assert settings.alerts.webhook == GIVEN["RAYCOMMEND_ALERTS_WEBHOOK"]
    assert [key.name for key in settings.security.keys] == ["shop"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "REDIS_URL_FILE names .*, which cannot be read"), ("\n", "REDIS_URL_FILE names .*, which is empty")],
)
def test_a_file_of_a_secret_that_holds_none_is_named(
    content: str | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("REDIS_URL_FILE", str(file))
    with pytest.raises(SettingsError, match=words):
        load_settings()


def test_a_secret_given_twice_is_refused_unless_it_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(GIVEN["REDIS_URL"])
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("REDIS_URL", "redis://other:6379/0")
    with pytest.raises(SettingsError, match="REDIS_URL and REDIS_URL_FILE are both set, and differ"):
        load_settings()
    monkeypatch.setenv("REDIS_URL", GIVEN["REDIS_URL"])
    assert load_settings().store.url == GIVEN["REDIS_URL"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("store: {url: 'redis://:s3cret@store:6379/0'}", "store.url: .* holds a secret; give it by REDIS_URL"),
        ("alerts: {webhook: 'https://alerts.example/s3cret'}", "alerts.webhook: .* holds a secret"),
        ("serving: {profil: laptop}", "serving.profil: Extra inputs"),
        ("serving: {max_in_flight: many}", "serving.max_in_flight: Input should be a valid integer"),
    ],
)
def test_a_wrong_file_over_an_environment_is_refused_by_field(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text(line + "\n")
    monkeypatch.setenv("RAYCOMMEND_ENVIRONMENT", "dev")
    monkeypatch.setenv("RAYCOMMEND_SECURITY_KEYS", KEYS)
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(tmp_path / "settings.yaml"))
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_the_own_file_and_variables_come_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text("training: {trials: 3}\nautopilot: {mode: 'off'}\n")
    monkeypatch.setenv("RAYCOMMEND_ENVIRONMENT", "dev")
    monkeypatch.setenv("RAYCOMMEND_SECURITY_KEYS", KEYS)
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(tmp_path / "settings.yaml"))
    monkeypatch.setenv("RAYCOMMEND_AUTOPILOT_MODE", "act")
    settings = load_settings()
    assert (settings.training.trials, settings.autopilot.mode, settings.serving.host) == (3, "act", "0.0.0.0")


def test_an_unknown_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCOMMEND_ENVIRONMENT", "prod")
    with pytest.raises(SettingsError, match="environment: RAYCOMMEND_ENVIRONMENT is 'prod'; it can be dev, staging"):
        load_settings()


def test_the_token_of_a_cluster_comes_from_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert ray_token(settings) is None
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the cluster\n")
    assert ray_token(settings) == "of the cluster"
    settings.token_path.write_text("of the state folder\n")
    assert ray_token(settings) == "of the state folder"

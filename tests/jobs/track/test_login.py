"""The stack's own MLflow asks who is there, and what belongs to the stack knows."""

import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

from configs import tracking_login
from configs.settings import PROJECT_DIR, Settings, load_settings
from deployments.local.ray_environment import client_environment, env_file, resolved_settings, stack_environment
from deployments.operations.model_registry import ModelRegistry
from jobs.train.mlflow_registry import MlflowRegistry

pytestmark = pytest.mark.anyio
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=5"
PATHS = (SEARCH, "/", "/version", "/health/", "/health/../version", "/ajax-api/2.0/mlflow/experiments/search")


@pytest.mark.parametrize(
    "login",
    [None, ("raycommend", "guessed"), ("raycommend", ""), ("admin", "password1234"), "bearer"],
    ids=["nobody", "guess", "empty", "mlflow's own default", "another kind"],
)
@pytest.mark.parametrize(
    "path", [SEARCH, "/", "/version", "/health/../version", "/ajax-api/2.0/mlflow/experiments/list"]
)
def test_nobody_gets_in_without_the_password(mlflow: Settings, path: str, login: object) -> None:
    url = tracking_login.own_address(mlflow.ports.mlflow)
    headers = {"authorization": f"Bearer {tracking_login.password(mlflow.state_dir)}"} if login == "bearer" else {}
    answer = httpx.get(f"{url}{path}", auth=login if isinstance(login, tuple) else None, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_a_person_logs_in_and_the_supervisor_asks_for_health_alone(mlflow: Settings) -> None:
    url = tracking_login.own_address(mlflow.ports.mlflow)
    secret = tracking_login.password(mlflow.state_dir)
    assert secret is not None
    assert httpx.get(f"{url}/health").status_code == 200
    with httpx.Client(base_url=url, auth=(tracking_login.USER, secret)) as http:
        assert http.get("/").headers["content-type"].startswith("text/html")
        assert http.get(SEARCH).json()["experiments"]


async def test_jobs_and_the_console_log_in_by_themselves(mlflow: Settings, tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    file.write_text("found")
    run = MlflowRegistry(mlflow).log_report("report", {"a": 1.0}, {}, [file])
    assert [one.path for one in MlflowClient(mlflow.tracking_uri).list_artifacts(run)] == ["report.txt"]
    assert await ModelRegistry(mlflow).versions() == {}


def test_a_shell_that_sourced_env_reaches_it(mlflow: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "experiments", "search"],
        env=client_environment(mlflow), cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Default" in done.stdout, done.stderr


def test_the_password_is_for_its_owner_alone_and_in_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=tmp_path)
    assert settings.tracking_uri == "http://127.0.0.1:5000"  # a state folder of an earlier version, until MLflow starts
    tracking_login.prepare(tmp_path)
    secret = tracking_login.password(tmp_path)
    assert secret is not None
    assert stat.S_IMODE((tmp_path / tracking_login.FILE).stat().st_mode) == 0o600
    tracking_login.prepare(tmp_path)
    assert tracking_login.password(tmp_path) == secret
    assert settings.tracking_uri == f"http://raycommend:{secret}@127.0.0.1:5000"
    assert f"export MLFLOW_TRACKING_PASSWORD={secret}" in env_file(settings)
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(tmp_path))
    for name, value in client_environment(settings).items():
        if name.startswith("MLFLOW_TRACKING"):
            monkeypatch.setenv(name, value)
    sourced = load_settings()
    assert (sourced.own_tracking, sourced.tracking_uri) == (True, settings.tracking_uri)
    for text in (resolved_settings(sourced), str(sourced), str(stack_environment(sourced))):
        assert secret not in text
    outside = Settings(state_dir=tmp_path, tracking={"uri": "https://ada:s3cret@mlflow.example"})
    assert outside.tracking_uri == "https://ada:s3cret@mlflow.example"

"""The image and Compose: linted, and their scripts run for real. Only a Docker daemon builds the image."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from configs.environments.environment import SECRETS
from configs.groups.access import ApiKey
from configs.settings import PROJECT_DIR
from deploy.container.runtime_lock import entries, name_of, runtime
from deployments.local.ray_environment import load_flags

Run = Callable[..., "subprocess.CompletedProcess[str]"]
FOLDER = PROJECT_DIR / "deploy" / "container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
PROJECT = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())
NOT_IN_THE_IMAGE = ("benchmarks", "clients")
KEYS = json.dumps([{"name": "shop", "sha256": hashlib.sha256(b"key").hexdigest(), "scopes": ["recommend"]}])


def in_container(command: list[str], **given: str) -> "subprocess.CompletedProcess[str]":
    """A command as start.sh runs it in the image, with nothing in the environment but what is given."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PYTHONPATH": str(PROJECT_DIR), **given}
    return subprocess.run(
        ["sh", str(FOLDER / "start.sh"), *command],
        cwd=PROJECT_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_linter_finds_nothing_in_the_dockerfile(run_tool: Run) -> None:
    done = run_tool("hadolint", "--format", "tty", "deploy/container/Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_linter_would_find_something(run_tool: Run, tmp_path: Path) -> None:
    """What the test above rests on."""
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp && sudo apt-get install curl\n")
    assert "DL3004" in run_tool("hadolint", str(tmp_path / "Dockerfile")).stdout


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "deploy/container/compose.yaml"),
        ("vendor.github-workflows", ".github/workflows/checks.yaml"),
        ("vendor.github-workflows", ".github/workflows/release.yaml"),
    ],
)
def test_the_file_is_of_its_form(schema: str, file: str, run_tool: Run) -> None:
    done = run_tool("check-jsonschema", "--builtin-schema", schema, file)
    assert done.returncode == 0, done.stdout


def test_the_image_holds_all_code_and_runs_as_nobody_in_particular() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert {package for package in PROJECT["tool"]["mypy"]["packages"] if package not in NOT_IN_THE_IMAGE} <= copied
    assert [name for name in copied if not (PROJECT_DIR / name).exists()] == []
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert [name for name in copied if not any(Path(name).is_relative_to(one) for one in kept)] == []
    assert ignored.index("deploy/container/.env") > ignored.index("!deploy/container"), "secrets would be in the image"
    assert "USER 10001:10001" in text.splitlines()
    assert text.index("USER 10001") < text.index("ENTRYPOINT")
    assert "--require-hashes" in text
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)


def test_the_image_holds_what_runs_and_not_what_tests() -> None:
    lock = (PROJECT_DIR / "requirements.lock").read_text()
    kept = runtime((PROJECT_DIR / "pyproject.toml").read_text(), lock)
    assert not {"pytest", "playwright", "moto", "ruff", "mypy", "schemathesis", "hypothesis"} & set(kept)
    # Each package's own word for what it needs, where it is installed here.
    installed = {name_of(one.metadata["Name"]): one for one in metadata.distributions()}
    wanted = {
        name_of(need.name)
        for name in kept
        if name in installed
        for need in map(Requirement, installed[name].requires or ())
        if need.marker is None or need.marker.evaluate({"extra": ""})
    }
    assert len(wanted) > 100
    assert wanted - set(kept) == set()
    assert all("--hash=sha256:" in entry for entry in kept.values())
    assert set(kept) < set(entries(lock))


def test_compose_starts_nothing_without_secrets_and_listens_on_this_machine_alone() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert set(re.findall(r"\$\{(\w+):\?", text)) == asked, "each names itself where it is missing"
    made = subprocess.run(
        [sys.executable, str(FOLDER / "make_secrets.py")], capture_output=True, text=True, check=True, timeout=30
    )
    lines = dict(line.split("=", 1) for line in made.stdout.splitlines())
    assert set(lines) == asked
    assert len(set(lines.values())) == len(lines)
    (kept,) = json.loads(lines["RAYCOMMEND_SECURITY_KEYS"].strip("'"))
    key = made.stderr.rsplit(" ", 1)[1].strip()
    assert ApiKey(**kept).sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert key not in made.stdout
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert set(COMPOSE["services"]) == {"valkey", "mlflow", "head", "worker", "deploy"}


def test_a_missing_secret_stops_a_container_before_its_command(tmp_path: Path) -> None:
    given = {"REDIS_URL": "redis://:s3cret@store:6379/0", "RAYCOMMEND_SECURITY_KEYS": KEYS}
    done = in_container(["touch", str(tmp_path / "started")], RAYCOMMEND_ENVIRONMENT="staging", **given)
    assert done.returncode == 2
    assert "the secret MLFLOW_TRACKING_URI is missing" in done.stderr
    assert not (tmp_path / "started").exists()
    assert "s3cret" not in done.stdout + done.stderr
    assert set(given) < set(SECRETS)


def test_a_container_sets_rays_flags() -> None:
    done = in_container(
        [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
        RAYCOMMEND_ENVIRONMENT="dev",
        RAYCOMMEND_SECURITY_KEYS=KEYS,
        RAYCOMMEND_PROXY_CONNECTIONS="7000",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    wanted = load_flags().everywhere
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["RAYCOMMEND_PROXY_CONNECTIONS"] == "7000"
    assert "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT" not in found, "a container's ports are its own"


def test_compose_deploys_for_all_addresses_of_the_container() -> None:
    command = [sys.executable, "-m", "deployments.local", "serve-config"]
    done = in_container(command, RAYCOMMEND_ENVIRONMENT="dev", RAYCOMMEND_SECURITY_KEYS=KEYS)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout.split("\n", 1)[1])
    assert config["http_options"]["host"] == "0.0.0.0"
    own = yaml.safe_load((PROJECT_DIR / "serve_config.yaml").read_text())
    assert config["applications"] == own["applications"]


def test_the_image_builds() -> None:
    """Only where a Docker daemon answers; the workflow `checks` builds it on every change."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False, timeout=30).returncode:
        pytest.skip("no Docker daemon answers here")
    command = [docker, "build", "--quiet", "-f", str(FOLDER / "Dockerfile"), str(PROJECT_DIR)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]

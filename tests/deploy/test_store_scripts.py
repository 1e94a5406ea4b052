"""The stores' own start scripts, of the chart and of Compose, run with a real Valkey."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import yaml

from configs.settings import PROJECT_DIR
from deployments.local.stack_parts import store_binary
from tests.waiting import wait_for

PASSWORD = "of-the-store"


@contextmanager
def running(script: str, folder: Path, *arguments: str) -> Iterator[redis.Redis]:
    """A store that a script starts, on a free port and in a folder of the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "bin").mkdir()
    (folder / "bin" / "valkey-server").symlink_to(store_binary())
    (folder / "data").mkdir()
    text = script.replace("dir /data", f"dir {folder / 'data'}").replace("/etc/valkey", str(folder))
    assert "exec valkey-server -" in text
    text = text.replace("exec valkey-server -", f"exec valkey-server - --bind 127.0.0.1 --port {port}")
    (folder / "start.sh").write_text(text)
    environment = {"PATH": f"{folder / 'bin'}:{os.defpath}", "STORE_PASSWORD": PASSWORD}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", str(folder / "start.sh"), *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    client = redis.Redis(port=port, password=PASSWORD, socket_timeout=5)
    try:
        wait_for(lambda: _answers(client), seconds=20)
        with redis.Redis(port=port, socket_timeout=5) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        # Other users of the machine could read it in the command line.
        assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=20)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def config(client: redis.Redis, name: str) -> str:
    return str(client.config_get(name)[name])


def store_files(environment: str, folder: Path) -> dict[str, str]:
    """What the chart mounts beside the store, with the configuration laid into the folder."""
    golden = PROJECT_DIR / "tests" / "deploy" / "goldens" / f"{environment}.yaml"
    found = yaml.load_all(golden.read_text(), Loader=yaml.CSafeLoader)
    named = {(one["kind"], one["metadata"]["name"]): one for one in found}
    files: dict[str, str] = named["ConfigMap", "raycommend-store"]["data"]
    for name in ("valkey.conf", "store.conf", "gcs.conf"):
        (folder / name).write_text(files[name].replace("/data", str(folder / "data")))
    return files


def test_the_charts_store_is_durable_and_waits_for_copies(tmp_path: Path) -> None:
    settings = store_files("production", tmp_path)
    with running(settings["start.sh"], tmp_path, "store.conf", "") as client:
        assert config(client, "appendfsync") == "always"
        assert config(client, "maxmemory-policy") == "noeviction"
        assert config(client, "maxmemory") == str(12 * 1024**3)
        assert config(client, "masterauth") == PASSWORD
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            client.set("an event", "of which there would be one copy alone")


def test_a_copy_follows_the_primary_that_it_is_told(tmp_path: Path) -> None:
    settings = store_files("staging", tmp_path)
    with running(settings["start.sh"], tmp_path, "store.conf", "127.0.0.9") as client:
        found = client.info("replication")
        assert (found["role"], found["master_host"], found["master_port"]) == ("slave", "127.0.0.9", 6379)


def test_rays_own_store_takes_writes_without_copies(tmp_path: Path) -> None:
    """Ray's head ends where one is refused."""
    with running(store_files("production", tmp_path)["start.sh"], tmp_path, "gcs.conf", "") as client:
        client.set("of Ray", "kept")
        assert config(client, "maxmemory") == str(256 * 1024**2)
        assert config(client, "appendfsync") == "always"


def test_composes_store_is_durable(tmp_path: Path) -> None:
    compose = yaml.safe_load((PROJECT_DIR / "deploy" / "container" / "compose.yaml").read_text())
    script = compose["services"]["valkey"]["command"][2].replace("$$", "$")
    with running(script, tmp_path) as client:
        assert config(client, "appendfsync") == "always"
        assert config(client, "maxmemory-policy") == "noeviction"
        client.set("an event", "kept")

"""`make up`, `make status` and the others on a running stack, as the Makefile calls them."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from configs import store_users
from configs.settings import PROJECT_DIR
from tests.conftest import RunningStack, local_stack, records

pytestmark = [pytest.mark.stack, pytest.mark.destructive]


def test_a_second_up_changes_nothing(stack: RunningStack) -> None:
    before = records(stack.settings)
    again = stack.command("up")
    assert again.returncode == 0, again.stderr
    assert records(stack.settings) == before
    assert stack.url in again.stdout


def test_other_ports_than_those_it_runs_on_are_refused(stack: RunningStack) -> None:
    ports = stack.settings.ports.model_copy(update={"http": stack.settings.ports.http + 50})
    done = local_stack(stack.settings.model_copy(update={"ports": ports}), "up")
    assert (done.returncode, done.stderr) == (
        2, "the stack runs with another ports.http: run `make down` first\n",
    )  # fmt: skip


def test_a_running_stack_is_not_cleaned(stack: RunningStack) -> None:
    done = stack.command("clean", "--yes")
    assert (done.returncode, done.stderr) == (2, "the stack is running: run `make down` first\n")


def test_status_shows_every_part(stack: RunningStack) -> None:
    done = stack.command("status")
    assert done.returncode == 0, done.stdout
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"store", "mlflow", "ray", "supervisor", "recommend", "events", "console", "ready"} <= set(names)


def test_tools_typed_by_hand_reach_it(stack: RunningStack) -> None:
    env = stack.settings.state_dir / "env"
    for command, expected in (
        ("ray job list", f"http://127.0.0.1:{stack.settings.ports.dashboard}"),
        ("serve status", "recommend"),
        ("mlflow experiments search", stack.settings.tracking.experiment),
    ):
        done = subprocess.run(
            ["sh", "-c", f'. "$0" && {command}', str(env)],
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
            cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout + done.stderr, command


def test_ray_wants_its_token_and_the_store_is_durable(stack: RunningStack) -> None:
    dashboard = f"http://127.0.0.1:{stack.settings.ports.dashboard}"
    assert httpx.get(f"{dashboard}/api/jobs/").status_code == 401
    state_dir = stack.settings.state_dir
    for secret in (stack.settings.token_path, state_dir / "env", state_dir / "settings.yaml"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
    password = store_users.passwords(state_dir)["person"]
    with socket.create_connection(("127.0.0.1", stack.settings.ports.store), timeout=5) as store:
        store.sendall(b"CONFIG GET appendonly\r\n")
        assert store.recv(4096).startswith(b"-NOAUTH")
        store.sendall(f"AUTH person {password}\r\n".encode())
        assert store.recv(4096) == b"+OK\r\n"
        for name, value in (("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")):
            store.sendall(f"CONFIG GET {name}\r\n".encode())
            assert f"\r\n{value}\r\n".encode() in store.recv(4096)


def test_another_project_on_the_same_state_folder_is_refused(stack: RunningStack, tmp_path: Path) -> None:
    before = records(stack.settings)
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("configs", "deployments"):
        shutil.copytree(PROJECT_DIR / name, other / name, ignore=shutil.ignore_patterns("__pycache__", "pages"))
    for words in (("up",), ("supervise",)):
        done = subprocess.run(
            [sys.executable, "-m", "deployments.local", *words],
            env={"PATH": os.environ["PATH"], "RAYCOMMEND_CONFIG": str(stack.settings.state_dir / "settings.yaml")},
            cwd=other, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2, done.stdout
        assert done.stderr.startswith(f"{stack.settings.state_dir} holds the stack of {PROJECT_DIR} on ")
        assert len(done.stderr.splitlines()) == 1
    assert records(stack.settings) == before


def test_what_lies_in_the_state_folder_is_for_its_owner_alone(stack: RunningStack) -> None:
    """Also where it was open to others before."""
    for name, mode in ((".", 0o755), ("store", 0o755), ("env", 0o644), ("logs/ray.log", 0o644)):
        (stack.settings.state_dir / name).chmod(mode)
    assert stack.command("up").returncode == 0
    wide = {
        path: oct(path.lstat().st_mode)
        for path in (stack.settings.state_dir, *stack.settings.state_dir.rglob("*"))
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    }
    assert wide == {}

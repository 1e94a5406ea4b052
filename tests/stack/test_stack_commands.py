"""`make up`, `make down` and the others, as the Makefile calls them."""

import asyncio
import itertools
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from configs import store_users
from configs.event_types import load_event_types
from configs.settings import PROJECT_DIR, Settings
from deployments.local.processes import Record, processes
from deployments.local.ray_environment import resolved_settings
from deployments.local.stack_parts import store_binary
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.slots import CHAMPION
from jobs.train.store_calls import current_slots
from models.bundle.reading import load_bundle
from tests.conftest import RunningStack, local_stack
from tests.features.servers import Server
from tests.trained_state import USER, answers


def records(settings: Settings) -> dict[str, Record]:
    found = {path.stem: Record.read(path) for path in (settings.state_dir / "run").glob("*.json")}
    return {name: record for name, record in found.items() if record}


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)


def mentioning(text: str) -> list[str]:
    return [process.command for process in processes().values() if text in process.command]


def test_a_taken_port_is_one_line_and_nothing_is_started(idle_settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = idle_settings.ports.model_copy(update={"store": port})
        done = local_stack(idle_settings.model_copy(update={"ports": ports}), "up")
    assert done.returncode == 2
    assert f"port {port} is taken by pid {os.getpid()} (python" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (idle_settings.state_dir / "run").exists()


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployments.local", "up"],
        env={"PATH": os.environ["PATH"], "RAYCOMMEND_PORTS_HTTP": "80"},
        cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == "bad setting: ports.http is 80: choose one between 1024 and 65000"


def test_who_reads_only_the_first_lines_sees_no_traceback(idle_settings: Settings) -> None:
    reads, writes = os.pipe()
    os.close(reads)  # as `head` does when it has enough
    with os.fdopen(writes, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.local", "status"],
            env={"PATH": os.environ["PATH"], "RAYCOMMEND_STATE_DIR": str(idle_settings.state_dir)},
            cwd=PROJECT_DIR, stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_commands_without_a_stack_say_so(idle_settings: Settings) -> None:
    assert local_stack(idle_settings, "status").returncode == 3
    down = local_stack(idle_settings, "down")
    assert (down.returncode, down.stdout) == (0, "nothing is running\n")
    run = local_stack(idle_settings, "run", "--", "ray", "status")
    assert (run.returncode, run.stderr) == (2, "nothing is running; start with: make up\n")


def test_clean_asks_first(idle_settings: Settings) -> None:
    local_stack(idle_settings, "status")
    idle_settings.state_dir.mkdir(parents=True, exist_ok=True)
    (idle_settings.state_dir / "precious").touch()
    assert local_stack(idle_settings, "clean").returncode != 0
    assert (idle_settings.state_dir / "precious").exists()
    assert local_stack(idle_settings, "clean", "--yes").returncode == 0
    assert not idle_settings.state_dir.exists()


async def events_of(settings: Settings, user_id: str) -> dict[str, int]:
    """The counted events of a user, read from the store."""
    client = connect(settings.store, settings.store_url)
    types = load_event_types("movies")
    [found] = await OnlineStore(client, keys_of(settings.store), settings.store, types).read_users([user_id])
    await client.aclose()
    return found.counters(types)


def start_up(settings: Settings, command: str = "up") -> "subprocess.Popen[str]":
    file = settings.state_dir.parent / "settings.yaml"
    file.write_text(resolved_settings(settings))
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.local", command],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "RAYCOMMEND_CONFIG": str(file)},
        cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background of a shell has Ctrl-C ignored, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


class TestStart:
    def test_a_part_that_fails_takes_the_others_with_it(self, idle_settings: Settings) -> None:
        (idle_settings.state_dir / "mlflow").mkdir(parents=True)
        (idle_settings.state_dir / "mlflow" / "mlflow.db").write_text("this is not a database\n" * 100)
        done = local_stack(idle_settings, "up")
        assert done.returncode == 1
        assert "mlflow ended at once" in done.stderr
        assert str(idle_settings.state_dir / "logs" / "mlflow.log") in done.stderr
        assert records(idle_settings) == {}
        assert mentioning(str(idle_settings.state_dir)) + mentioning(str(idle_settings.run_dir)) == []
        shutil.rmtree(idle_settings.run_dir)

    def test_ctrl_c_leaves_nothing_behind(self, idle_settings: Settings) -> None:
        up = start_up(idle_settings)
        deadline = time.monotonic() + 60
        while "ray" not in records(idle_settings):
            assert up.poll() is None, up.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = local_stack(idle_settings, "up")
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == f"`make up` is at work on this state folder (pid {up.pid}): wait for it\n"
        up.send_signal(signal.SIGINT)
        _, errors = up.communicate(timeout=90)
        assert up.returncode == 130, errors
        assert records(idle_settings) == {}
        assert mentioning(str(idle_settings.state_dir)) + mentioning(str(idle_settings.run_dir)) == []
        shutil.rmtree(idle_settings.run_dir)


class Callers:
    """Ask without a pause, each time on a new connection, and note what no client should get while a stack ends:
    a connection that is cut, an error that is not in the common form, a temporary one without Retry-After.
    """

    def __init__(self, url: str, callers: int = 4) -> None:
        self._url = url
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]
        self.statuses: Counter[int] = Counter()
        self.refused = 0
        self.wrong: list[str] = []

    def _run(self) -> None:
        event = {"user_id": "caller", "item_id": 1, "event_type": "click"}
        asks = itertools.cycle(
            [("recommend", {"user_id": 5}), ("events", event), ("trending", None), ("mlops/timeline", None)]
        )
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"{self._url}/api/v1", timeout=30, limits=limits) as client:
            while not self._ends.is_set():
                path, body = next(asks)
                try:
                    answer = client.request("GET" if body is None else "POST", f"/{path}", json=body)
                except httpx.ConnectError:
                    self.refused += 1
                    self._ends.wait(0.05)
                except httpx.HTTPError as error:
                    self.wrong.append(f"{path}: {error!r}")
                else:
                    self.statuses[answer.status_code] += 1
                    if answer.status_code != 200 and not self._is_temporary(answer):
                        self.wrong.append(f"{path}: {answer.status_code} {answer.headers} {answer.text}")

    @staticmethod
    def _is_temporary(answer: httpx.Response) -> bool:
        is_ours = answer.headers["content-type"] == "application/json" and "code" in answer.json()["error"]
        return is_ours and answer.status_code in (503, 504) and "retry-after" in answer.headers

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.stack
@pytest.mark.destructive
class TestRunningStack:
    def test_a_second_up_changes_nothing(self, stack: RunningStack) -> None:
        before = records(stack.settings)
        again = stack.command("up")
        assert again.returncode == 0, again.stderr
        assert records(stack.settings) == before
        assert stack.url in again.stdout

    def test_other_ports_than_those_it_runs_on_are_refused(self, stack: RunningStack) -> None:
        ports = stack.settings.ports.model_copy(update={"http": stack.settings.ports.http + 50})
        done = local_stack(stack.settings.model_copy(update={"ports": ports}), "up")
        assert (done.returncode, done.stderr) == (
            2, "the stack runs with another ports.http: run `make down` first\n",
        )  # fmt: skip

    def test_a_running_stack_is_not_cleaned(self, stack: RunningStack) -> None:
        done = stack.command("clean", "--yes")
        assert (done.returncode, done.stderr) == (2, "the stack is running: run `make down` first\n")

    def test_status_shows_every_part(self, stack: RunningStack) -> None:
        done = stack.command("status")
        assert done.returncode == 0, done.stdout
        names = [line.split()[0] for line in done.stdout.splitlines()]
        assert {"store", "mlflow", "ray", "supervisor", "recommend", "events", "console", "ready"} <= set(names)

    def test_tools_typed_by_hand_reach_it(self, stack: RunningStack) -> None:
        env = stack.settings.state_dir / "env"
        for command, expected in (
            ("ray job list", "jobs.retrain"),
            ("serve status", "recommend"),
            ("mlflow experiments search", stack.settings.tracking.experiment),
        ):
            done = subprocess.run(
                ["sh", "-c", f'. "$0" && {command}', str(env)],
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
                cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert expected in done.stdout + done.stderr, command

    def test_ray_wants_its_token_and_the_store_is_durable(self, stack: RunningStack) -> None:
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

    def test_another_project_on_the_same_state_folder_is_refused(self, stack: RunningStack, tmp_path: Path) -> None:
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

    def test_what_lies_in_the_state_folder_is_for_its_owner_alone(self, stack: RunningStack) -> None:
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

    def test_down_finishes_requests_and_leaves_all_on_disk(
        self, stack: RunningStack, probe_url: str, tmp_path: Path
    ) -> None:
        """With a supervisor in the foreground, as under systemd: it takes over from the one in the background.

        What starts from the disk is in `test_up_from_disk`.
        """
        watched = records(stack.settings)
        foreground = start_up(stack.settings, "supervise")
        wait_for(lambda: records(stack.settings).get("supervisor", watched["supervisor"]).pid == foreground.pid)
        assert {**records(stack.settings), "supervisor": watched["supervisor"]} == watched
        known = answers(stack.url)
        deadline = time.monotonic() + 60
        while httpx.get(f"{probe_url}/pid").status_code != 200:
            assert time.monotonic() < deadline
        finished: list[int] = []
        begun = tmp_path / "begun"
        asked = {"seconds": 4, "begun": str(begun)}
        slow = threading.Thread(
            target=lambda: finished.append(httpx.get(f"{probe_url}/slow", params=asked, timeout=30).status_code)
        )
        slow.start()
        while not begun.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with Callers(stack.url) as callers:
            down = stack.command("down")
        slow.join()
        assert (down.returncode, down.stdout.split()) == (
            0,
            ["supervisor:", "stopped", "ray:", "stopped", "mlflow:", "stopped", "store:", "stopped"],
        )
        assert finished == [200]
        assert callers.wrong == []
        assert callers.statuses[200] > 0
        assert callers.refused > 0
        assert foreground.wait(timeout=60) == 0, foreground.communicate()
        foreground.communicate()
        assert mentioning(str(stack.settings.state_dir)) + mentioning(str(stack.settings.run_dir)) == []

        store = Server(store_binary(), stack.settings.state_dir / "store")
        try:
            again = stack.settings.model_copy(
                update={"store": stack.settings.store.model_copy(update={"url": store.url})}
            )
            slot = current_slots(again)[CHAMPION]
            assert load_bundle(slot.path).manifest.version == slot.version == known["model_version"]
            assert asyncio.run(events_of(again, USER)) == known["user"]["events"] == {"like": 1}
        finally:
            store.stop()

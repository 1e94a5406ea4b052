"""Starts that end early, and commands without a stack."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from configs.settings import PROJECT_DIR, Settings
from tests.conftest import local_stack, records
from tests.stack.commands.starting import mentioning, start_up


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


def test_a_part_that_fails_takes_the_others_with_it(idle_settings: Settings) -> None:
    (idle_settings.state_dir / "mlflow").mkdir(parents=True)
    (idle_settings.state_dir / "mlflow" / "mlflow.db").write_text("this is not a database\n" * 100)
    done = local_stack(idle_settings, "up")
    assert done.returncode == 1
    assert "mlflow ended at once" in done.stderr
    assert str(idle_settings.state_dir / "logs" / "mlflow.log") in done.stderr
    assert records(idle_settings) == {}
    assert mentioning(str(idle_settings.state_dir)) + mentioning(str(idle_settings.run_dir)) == []
    shutil.rmtree(idle_settings.run_dir)


def test_ctrl_c_leaves_nothing_behind(idle_settings: Settings) -> None:
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

"""The unit for systemd: what systemd itself says of it, and what it runs."""

import configparser
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR, Settings
from configs.store_users import passwords, prepare
from deployments.local.systemd import NAME, main, tell_systemd, unit

SETTINGS = {
    "RAYCOMMEND_PORTS_HTTP": "8123",
    "RAYCOMMEND_API_KEY": "a secret",
    "RAYCOMMEND_ALERTS_WEBHOOK": 'https://hooks/a%20b"c\\d$e',
    "PROFILE": "production",
    "HOME": "/root",
}


def parsed(text: str) -> configparser.RawConfigParser:
    class Unit(configparser.RawConfigParser):
        def optionxform(self, name: str) -> str:
            return name

    found = Unit(strict=False, interpolation=None)
    found.read_string(text)
    return found


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    binary = shutil.which("systemd-analyze")
    if binary is None:
        pytest.skip("there is no systemd-analyze; the next test reads the unit without it")
    file = tmp_path / NAME
    file.write_text(unit(SETTINGS))
    done = subprocess.run(
        [binary, "verify", "--user", str(file)],
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if NAME in line]
    assert (done.returncode, about_it) == (0, [])


def test_the_unit_runs_the_stack_from_here_with_the_settings_given_and_no_key() -> None:
    text = unit(SETTINGS)
    service = parsed(text)["Service"]
    assert shlex.split(service["ExecStart"]) == [sys.executable, "-m", "deployments.local", "supervise"]
    assert service["WorkingDirectory"] == str(PROJECT_DIR)
    assert (service["Restart"], service["KillMode"], service["UMask"]) == ("on-failure", "process", "0077")
    given = [line.removeprefix("Environment=") for line in text.splitlines() if line.startswith("Environment=")]
    assert given == [
        '"PROFILE=production"',
        '"RAYCOMMEND_ALERTS_WEBHOOK=https://hooks/a%%20b\\"c\\\\d$e"',
        '"RAYCOMMEND_PORTS_HTTP=8123"',
    ]
    assert "a secret" not in text


def test_it_is_printed_or_written_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--write", str(tmp_path)]) == 0
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out == f"{tmp_path / NAME}\n"
    assert main([]) == 0
    assert capsys.readouterr().out == (tmp_path / NAME).read_text()
    assert main(["--write", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_systemd_is_told_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_systemd("READY=1")  # to nobody
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_systemd("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_the_password_of_our_own_store_gets_into_no_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell that sourced `env` exports it."""
    prepare(tmp_path, "rc")
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", Settings(state_dir=tmp_path).store_url_of("person"))
    monkeypatch.setenv("REDISCLI_AUTH", passwords(tmp_path)["person"])
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "RAYCOMMEND_STATE_DIR" in text
    assert passwords(tmp_path)["person"] not in text
    outside = "redis://shop@store.example:6379/0"
    monkeypatch.setenv("REDIS_URL", outside)
    assert main([]) == 0
    assert outside in capsys.readouterr().out

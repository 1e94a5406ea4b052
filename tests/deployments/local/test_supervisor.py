"""Parts that die, hang and keep dying: real processes, and a supervisor that looks when the test says so."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from configs.settings import Alerts
from configs.supervision import FILE_NAME, Supervision, read_supervision
from deployments.autopilot.alerts import message as autopilots_message
from deployments.local import alarm, supervisor
from deployments.local.alarm import Alarm
from deployments.local.folder_lock import changing
from deployments.local.processes import start
from deployments.local.supervisor import Supervisor
from deployments.operations.monitor_views import Alert
from tests.deployments.local.real_parts import DIES, LIVES, Clock, Part


@pytest.fixture
def supervise(tmp_path: Path, parts: dict[str, Part], clock: Clock, said: list[str]) -> Callable[..., Supervisor]:
    def make(webhook: str | None = None) -> Supervisor:
        told = Alarm(Alerts(webhook=webhook, repeat_s=600), said.append)
        return Supervisor([part.watched() for part in parts.values()], tmp_path, told, said.append, clock=clock)

    return make


def report(folder: Path) -> Supervision:
    found = read_supervision(folder)
    assert found is not None
    return found


def test_a_dead_part_alone_is_started_again_and_that_is_told(
    supervise: Callable[..., Supervisor], parts: dict[str, Part], clock: Clock, tmp_path: Path, said: list[str]
) -> None:
    one = supervise()
    one.look()
    assert (report(tmp_path).watching, report(tmp_path).troubles) == (True, {})
    parts["store"].kill()
    one.look()
    trouble = report(tmp_path).troubles["store"]
    assert trouble.text == "store ended by itself: it is started again within 1 s"
    assert trouble.log_end == "begun"
    clock.now += 1.0
    one.look()
    assert len(parts["store"].records) == 2
    clock.now += 0.5
    one.look()
    seen = report(tmp_path)
    assert (seen.troubles, seen.restarts) == ({}, 1)
    assert re.fullmatch(
        r"watches since [\d: -]+; 1 restart, the last: store ended by itself; it was started again and worked after "
        r"1\.5 s, at [\d: -]+",
        seen.text,
    )
    assert [len(part.records) for part in parts.values()] == [2, 1, 1]
    # A supervisor that comes after this one goes on counting.
    later = supervise()
    later.look()
    assert (report(tmp_path).restarts, len(report(tmp_path).latest)) == (1, 1)


def test_a_part_that_keeps_dying_is_reported_with_the_end_of_its_log(
    supervise: Callable[..., Supervisor], parts: dict[str, Part], clock: Clock, tmp_path: Path
) -> None:
    one = supervise()
    one.look()
    parts["ray"].code = DIES
    parts["ray"].kill()
    for _ in range(80):
        one.look()
        clock.now += 0.25
    assert len(parts["ray"].records) == 5  # the first, and after 1, 2, 4 and 8 s
    trouble = report(tmp_path).troubles["ray"]
    assert trouble.tries == 4
    assert trouble.text == "ray ended by itself: 4 starts did not help, the next comes within 15 s"
    assert trouble.log_end == "the disk is on fire"
    parts["ray"].code = LIVES
    for _ in range(80):
        one.look()
        clock.now += 0.25
    assert report(tmp_path).troubles == {}
    assert "worked at try 5 after" in report(tmp_path).text


def test_a_part_that_hangs_is_ended_and_started_again(
    supervise: Callable[..., Supervisor], parts: dict[str, Part], clock: Clock
) -> None:
    one = supervise()
    one.look()
    hung = parts["store"].records[-1]
    os.kill(hung.pid, signal.SIGSTOP)
    parts["store"].answers = False
    one.look()
    clock.now += 31
    one.look()
    clock.now += 1
    one.look()
    assert not hung.alive()
    assert parts["store"].records[-1].alive()


def test_nothing_is_started_while_a_command_is_at_work(
    supervise: Callable[..., Supervisor], parts: dict[str, Part], clock: Clock, tmp_path: Path
) -> None:
    one = supervise()
    one.look()
    parts["store"].kill()
    with changing(tmp_path, "make down"):
        for _ in range(10):
            one.look()
            clock.now += 1
        assert len(parts["store"].records) == 1
    one.look()
    assert len(parts["store"].records) == 2


def test_the_applications_are_not_blamed_while_ray_is_away(
    supervise: Callable[..., Supervisor], parts: dict[str, Part], clock: Clock
) -> None:
    one = supervise()
    one.look()
    parts["ray"].code = DIES
    parts["ray"].kill()
    parts["serve"].kill()
    for _ in range(20):
        one.look()
        clock.now += 1
    assert len(parts["serve"].records) == 1
    parts["ray"].code = LIVES
    for _ in range(40):
        one.look()
        clock.now += 1
    assert len(parts["serve"].records) == 2


def test_a_dead_supervisor_watches_no_more(
    supervise: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervise().look()
    assert report(tmp_path).watching
    file = tmp_path / FILE_NAME
    gone, process = start("gone", [sys.executable, "-c", ""], dict(os.environ), "", tmp_path / "gone.log")
    process.wait(timeout=30)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "pid": gone.pid}))
    assert not report(tmp_path).watching
    assert report(tmp_path).text.startswith("nobody watches the parts")
    # One that lives and hangs does not look either.
    file.write_text(json.dumps(content))
    assert report(tmp_path).watching
    os.utime(file, (time.time() - 120, time.time() - 120))
    assert not report(tmp_path).watching


def test_a_full_disk_does_not_end_the_supervisor(
    supervise: Callable[..., Supervisor], parts: dict[str, Part], tmp_path: Path, clock: Clock, said: list[str]
) -> None:
    one = supervise()
    one.look()
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    parts["store"].kill()
    one.look()
    clock.now += 1
    one.look()
    assert len(parts["store"].records) == 2
    assert sum("the report cannot be written" in line for line in said) == 1
    (tmp_path / FILE_NAME).rmdir()
    one.look()
    assert report(tmp_path).restarts == 1


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", told
        server.shutdown()
        thread.join()


def test_a_ray_that_does_not_come_back_is_told_though_autopilot_is_gone_with_it(
    supervise: Callable[..., Supervisor],
    parts: dict[str, Part],
    clock: Clock,
    webhook: tuple[str, list[dict[str, Any]]],
) -> None:
    address, told = webhook
    one = supervise(address)
    one.look()
    parts["ray"].code = DIES
    parts["ray"].kill()
    for _ in range(int(alarm.PATIENCE_S)):
        one.look()
        clock.now += 1
    assert told == []
    for _ in range(10):
        one.look()
        clock.now += 1
    assert [(one["status"], one["name"], one["severity"]) for one in told] == [("firing", "stack_down", "critical")]
    assert "ray ended by itself" in told[0]["text"]
    parts["ray"].code = LIVES
    for _ in range(70):
        one.look()
        clock.now += 1
    assert [one["status"] for one in told] == ["firing", "resolved"]


@pytest.mark.parametrize("form", ["generic", "slack"])
@pytest.mark.parametrize("on", [True, False])
def test_its_messages_have_the_form_of_autopilots(form: Any, on: bool) -> None:
    alert = Alert(name="stack_down", severity="critical", text="ray is away")
    theirs, ours = autopilots_message(alert, on, form, 0), alarm.message("ray is away", on, form)
    assert {**ours, "time_ms": 0} == {**theirs, "time_ms": 0}


def test_what_ends_it_lets_it_finish(tmp_path: Path) -> None:
    """As `make down` ends it: at once, and its parts live on."""
    code = (
        "import pathlib\n"
        "from configs.settings import Alerts\n"
        "from deployments.local.alarm import Alarm\n"
        "from deployments.local.supervisor import Supervisor\n"
        f"Supervisor([], pathlib.Path({str(tmp_path)!r}), Alarm(Alerts(), print), print).run()\n"
    )
    record, process = start("supervisor", [sys.executable, "-u", "-c", code], dict(os.environ), "", tmp_path / "log")
    deadline = time.monotonic() + 30
    while "watching" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(record.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert time.monotonic() - began < 10
    assert (tmp_path / "log").read_text().endswith("ended\n")
    assert supervisor.LOOK_S < 1

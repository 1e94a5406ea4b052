"""The applications after a head that died: what users wait for comes before the rest."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from configs.settings import Settings
from deployments.local import serve_control
from deployments.local.serve_control import ServeControl


class Dashboard:
    """What stands for Ray's dashboard: takes applications, and says what has become of them.

    Attributes:
        puts: the names of each request's applications.
        states: name -> what is said of it.
        asked: how often the states were asked for since the last request.
        runs_after: how many questions it takes until an application runs; None: none ever does.
    """

    def __init__(self) -> None:
        self.puts: list[list[str]] = []
        self.states: dict[str, str] = {}
        self.asked = 0
        self.runs_after: int | None = 3
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                if outer.runs_after is not None and outer.asked > outer.runs_after:
                    outer.states = dict.fromkeys(outer.states, "RUNNING")
                found = {name: {"status": state} for name, state in outer.states.items()}
                self._answer(json.dumps({"applications": found}).encode())

            def do_PUT(self) -> None:
                config = json.loads(self.rfile.read(int(self.headers["content-length"])))
                names = [one["name"] for one in config["applications"]]
                outer.puts.append(names)
                outer.states = {name: outer.states.get(name, "DEPLOYING") for name in names}
                outer.asked = 0
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.thread = Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    found = Dashboard()
    yield found
    found.close()


@pytest.fixture
def control(dashboard: Dashboard, tmp_path: Path) -> ServeControl:
    control = ServeControl(Settings(state_dir=tmp_path, ports={"dashboard": dashboard.server.server_port}), print)
    control.deployed.write_text(control.rendered())
    return control


ALL = ["recommend", "events", "console"]


def test_where_all_are_gone_lists_and_events_have_the_machine_to_themselves(
    control: ServeControl, dashboard: Dashboard
) -> None:
    control.restore()
    assert dashboard.puts == [["recommend", "events"], ALL]
    assert dashboard.states == {"recommend": "RUNNING", "events": "RUNNING", "console": "DEPLOYING"}


def test_the_others_wait_for_a_while_and_no_longer(
    control: ServeControl, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_control, "FIRST_S", 0.3)
    dashboard.runs_after = None
    control.restore()
    assert dashboard.puts == [["recommend", "events"], ALL]


def test_what_runs_goes_on(control: ServeControl, dashboard: Dashboard) -> None:
    """Where one alone is gone, a request for some would take away the others."""
    dashboard.states = {"events": "RUNNING", "console": "RUNNING"}
    control.restore()
    assert dashboard.puts == [ALL]

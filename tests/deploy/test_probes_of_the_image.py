"""The probe of containers: it says yes only where every address answers 200."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from configs.settings import PROJECT_DIR

SCRIPT = PROJECT_DIR / "deploy" / "container" / "answers.py"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.strip("/")))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


@pytest.mark.parametrize(
    ("paths", "code", "named"),
    [
        (["200"], 0, ""),
        (["200", "200"], 0, ""),
        (["200", "503"], 1, "/503: HTTP Error 503"),
        (["204"], 1, "/204: 204"),
        ([], 2, "give at least one address"),
    ],
)
def test_every_address_must_answer(paths: list[str], code: int, named: str, server: str) -> None:
    done = _ask(*(f"{server}/{path}" for path in paths))
    assert done.returncode == code
    assert named in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "no address"])
def test_an_address_that_does_not_answer_is_named(url: str) -> None:
    done = _ask(url)
    assert done.returncode == 1
    assert f"answers: {url}: " in done.stderr
    assert "Traceback" not in done.stderr


def _ask(*urls: str) -> "subprocess.CompletedProcess[str]":
    # As probes run it: without site-packages, and whatever proxy the environment names.
    return subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), *urls],
        env={"http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

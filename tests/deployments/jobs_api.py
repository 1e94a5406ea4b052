"""Ray's jobs API as far as it is used here, over real HTTP, where tests decide how jobs go."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from configs import clock


class JobsApi:
    """Serves on a free port. `jobs` holds what was submitted, by id; `away` makes it answer 500."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.submissions = 0
        self.stopped: list[str] = []
        self.away = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def end(self, job_id: str, status: str, message: str = "") -> None:
        self.jobs[job_id] |= {"status": status, "message": message, "end_time": clock.now_ms()}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def answer(self, status: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                parts = self.path.strip("/").split("/")
                if api.away:
                    self.answer(500, "away")
                elif len(parts) == 2:
                    self.answer(200, list(api.jobs.values()))
                elif parts[2] not in api.jobs:
                    self.answer(404, f"Job {parts[2]} does not exist")
                elif parts[-1] == "logs":
                    self.answer(200, {"logs": api.logs.get(parts[2], "")})
                else:
                    self.answer(200, api.jobs[parts[2]])

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                parts = self.path.strip("/").split("/")
                if api.away:
                    self.answer(500, "away")
                elif parts[-1] == "stop":
                    api.stopped.append(parts[2])
                    api.end(parts[2], "STOPPED")
                    self.answer(200, {"stopped": True})
                else:
                    asked = json.loads(body)
                    if asked["submission_id"] in api.jobs:
                        self.answer(500, f"Job with submission_id {asked['submission_id']} already exists.")
                        return
                    api.submissions += 1
                    api.jobs[asked["submission_id"]] = {
                        **asked, "status": "RUNNING", "start_time": clock.now_ms(), "end_time": None,
                    }  # fmt: skip
                    self.answer(200, {"submission_id": asked["submission_id"]})

        return Handler

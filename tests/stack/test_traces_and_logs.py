"""What a running stack says of single requests: traces, as a collector receives them, and lines in the log."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.conftest import RunningStack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
STAGES = {"features", "retrieval", "ranking", "exposure", "total"}


class Collector:
    """Takes OTLP over HTTP at the address that the stack's settings name."""

    def __init__(self, endpoint: str) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", urlsplit(endpoint).port or 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace_id.hex() == trace_id]

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def collector(stack: RunningStack) -> Iterator[Collector]:
    assert stack.settings.tracing.endpoint is not None
    started = Collector(stack.settings.tracing.endpoint)
    yield started
    started.stop()


@pytest.mark.stack
def test_a_callers_trace_goes_on_through_the_stages(stack: RunningStack, collector: Collector) -> None:
    with httpx.Client(base_url=stack.url, timeout=10) as client:
        client.post("/api/v1/recommend", json={"user_id": 7}).raise_for_status()  # nobody asked for a trace
        traced = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        client.post("/api/v1/recommend", json={"user_id": 8}, headers=traced).raise_for_status()
    deadline = time.monotonic() + 30
    while not {span.name for span in collector.of(TRACE)} > STAGES:
        assert time.monotonic() < deadline, [span.name for span in collector.spans]
        time.sleep(0.1)
    spans = collector.of(TRACE)
    assert collector.spans == spans, "only what the caller had traced, since the stack's own share is 0"
    parents = {span.span_id: span for span in spans}
    [request] = [span for span in spans if span.parent_span_id.hex() == CALLER]
    for span in spans:
        if span.name not in STAGES:
            continue
        above = span
        while above.parent_span_id in parents:
            above = parents[above.parent_span_id]
        assert above is request
        assert request.start_time_unix_nano <= span.start_time_unix_nano + 1_000_000
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= request.end_time_unix_nano + 1_000_000


@pytest.mark.stack
def test_a_share_of_the_requests_is_in_the_log_with_hashed_users(stack: RunningStack) -> None:
    logs = stack.settings.run_dir / "ray" / "session_latest" / "logs" / "serve"
    user = "somebody@example.org"
    deadline = time.monotonic() + 60
    found: list[dict[str, object]] = []
    with httpx.Client(base_url=stack.url, timeout=10) as client:
        while not found:
            assert time.monotonic() < deadline
            for number in range(20):
                headers = {"x-request-id": f"logged-{number}"}
                client.post("/api/v1/recommend", json={"user_id": user}, headers=headers).raise_for_status()
            lines = [line for log in logs.glob("replica_recommend_RankingDeployment_*.log") for line in _lines(log)]
            found = [entry for entry in lines if str(entry.get("client_request_id", "")).startswith("logged-")]
    [hashed] = {str(entry["user_hash"]) for entry in found}
    assert len(hashed) == 16
    assert all(user not in json.dumps(entry) for entry in found)
    assert {entry["model_version"] for entry in found} != {None}


def _lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

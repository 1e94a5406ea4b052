"""OpenTelemetry: a span for each stage of a traced request, inside the span that Ray Serve makes of the request.

Serve does the sampling, takes over a caller's `traceparent`, and finds the exporter by the path of `span_processors` in
the deployed configuration (see `deployments.local.serve_control`). Without a collector in the settings none of this is
there.
"""

import time

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from configs.settings import load_settings
from deployments.replica.latency import Latency

EXPORT_MS = 1000


def span_processors() -> list[SpanProcessor]:
    """The exporters of spans. Serve calls this in each of its processes; spans leave in the background."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=load_settings().tracing.endpoint)
    return [BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MS)]


class TracedLatency(Latency):
    """A stage's histogram that makes a span of each duration too, under the request that is being worked on.

    Args:
        name: the name of the stage, and so of its spans.
    """

    __slots__ = ("_name", "_tracer")

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._tracer = trace.get_tracer("raycommend")

    def observe(self, seconds: float) -> None:
        super().observe(seconds)
        if trace.get_current_span().is_recording():
            now = time.time_ns()
            self._tracer.start_span(self._name, start_time=now - round(seconds * 1e9)).end(now)

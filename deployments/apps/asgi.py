"""What the replicas that answer HTTP share: whole paths, the gate, and answers past Serve's own handling."""

import gc

from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import Settings
from deployments.access.access import Access
from deployments.http import serve_bypass as ingress
from deployments.http.asgi_app import Endpoint, EndpointApp, header
from deployments.http.request_log import request_log
from deployments.replica.request_metrics import RequestMetrics


def keep_for_good() -> None:
    """Keep the garbage collector from looking through what a replica holds since its start: that stays for good, and
    looking cost 6 % of the ranking replica's time by a profile. What requests leave behind has next to no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def at_root(app: ASGIApp) -> ASGIApp:
    """Let `app` see whole paths: Serve mounts an application below its route prefix, while the routes here, and so
    the document, name the whole path."""

    async def whole_path(scope: Scope, receive: Receive, send: Send) -> None:
        scope["root_path"] = ""
        await app(scope, receive, send)

    return whole_path


def endpoint_app(endpoints: list[Endpoint], settings: Settings, metrics: RequestMetrics) -> EndpointApp:
    """The busy endpoints of a replica, which counts and, for a share of them, logs its answers."""
    log = request_log(settings.serving.log_share, settings.token_path)
    return EndpointApp(endpoints, settings.serving.max_in_flight, metrics.answered, log)


def served_app(hot: EndpointApp, access: Access, settings: Settings, metrics: RequestMetrics) -> ASGIApp:
    """Put `hot` behind the gate. It answers without Serve's handling, except what Serve is to trace."""

    def count_refused(path: str, status: int, error: str) -> None:
        if path in hot.names:  # a path that somebody makes up must not become a metric
            metrics.answered(hot.names[path], status, error)

    app = at_root(access.guarded(hot, count_refused))
    tracing = settings.tracing
    if tracing.endpoint is None:
        ingress.answer_directly(hot.names, app, lambda _: False)
    elif tracing.share == 0:  # then only what a caller traces is traced
        ingress.answer_directly(hot.names, app, lambda scope: header(scope, b"traceparent") != "")
    return app

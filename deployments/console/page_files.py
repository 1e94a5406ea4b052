"""The console's pages: files as they are, under a policy that lets nothing else run."""

import asyncio
import gzip
import hashlib
import html
import re
from functools import cache
from pathlib import Path

import plotly
from fastapi import APIRouter, Request, Response

PAGES = Path(__file__).parent / "pages"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def page_routes() -> APIRouter:
    """The routes of `/`, of its other name `/console`, and of the files below that."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def index(request: Request) -> Response:
        return _file(request, PAGES / "index.html")

    @routes.get("/console")
    async def by_name() -> Response:
        return Response(None, 308, {**_HEADERS, "location": "/"})

    @routes.get("/console/plotly.js")
    async def charts(request: Request) -> Response:
        packed, tag = await asyncio.to_thread(_plotly)
        # Under one address for all versions of the package: the tag tells them apart.
        return _answer(request, packed, tag, ".js", {"content-encoding": "gzip"})

    @routes.get("/console/{name:path}")
    async def file(name: str, request: Request) -> Response:
        return _file(request, PAGES / name)

    return routes


@cache
def _files() -> frozenset[Path]:
    """What may be served: looked up, so that no path that a caller makes up reaches the disk."""
    return frozenset(path for path in PAGES.rglob("*") if path.suffix in _TYPES)


def _file(request: Request, path: Path) -> Response:
    if path not in _files():
        text = f"<!doctype html><title>Not found</title><p>There is no {html.escape(request.url.path)}."
        return Response(text, 404, _HEADERS, media_type="text/html")
    content = path.read_bytes()
    return _answer(request, content, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"', path.suffix, {})


def _answer(request: Request, content: bytes, tag: str, suffix: str, more: dict[str, str]) -> Response:
    headers = {**_HEADERS, **more, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    return Response(content, 200, {**headers, "content-type": _TYPES[suffix]})


@cache
def _plotly() -> tuple[bytes, str]:
    """The charts' JavaScript out of the installed package, packed once: 4.8 MB become 1.5."""
    script = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()
    # At its start Plotly writes the styles of maps into the page, unless it finds them there. The policy forbids that,
    # and no map is drawn, so the script is told that it has found them.
    script = re.sub(rb'document\.getElementById\("[0-9a-f]{64}"\)', b"document.head", script)
    packed = gzip.compress(script, 6, mtime=0)
    return packed, f'"{hashlib.blake2b(packed, digest_size=12).hexdigest()}"'

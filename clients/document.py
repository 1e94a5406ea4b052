"""The part of the OpenAPI document that clients have typed calls for, as `openapi.json` keeps it.

What operators do (models, experiments, keys, metrics) is left out: it changes with the console, and the clients reach
it by their plain `request`.
"""

import json
import re
from pathlib import Path
from typing import Any

from configs.settings import Serving
from deployments.console.routes import console_api
from deployments.events.endpoints import events_endpoints
from deployments.recommend.endpoints import recommend_endpoints

FILE = Path(__file__).parent / "openapi.json"
PATHS = re.compile(r"/api/v1/(recommend|events|items|users|catalogue|categories|trending)(/|$)|/health(/|$)")
_REFERENCE = re.compile(r'"#/components/schemas/(\w+)"')


def client_document() -> dict[str, Any]:
    """The document over all applications, without the paths that clients have no calls for and without the schemas
    that only these name. The version is that of the interface, so that a release alone changes no client."""

    def none() -> Any:
        raise RuntimeError("only the document is made here")

    serving = Serving()
    elsewhere = [*recommend_endpoints(none, serving), *events_endpoints(none, serving)]
    whole = console_api(none, serving, elsewhere).openapi()
    paths = {path: whole["paths"][path] for path in sorted(whole["paths"]) if PATHS.match(path)}
    schemas = whole["components"]["schemas"]
    needed = _named(paths)
    while more := {name for known in needed for name in _named(schemas[known])} - needed:
        needed |= more
    return {
        "openapi": whole["openapi"],
        "info": {**whole["info"], "version": "1"},
        "paths": paths,
        "components": {**whole["components"], "schemas": {name: schemas[name] for name in sorted(needed)}},
        "security": whole["security"],
    }


def document_text() -> str:
    """The document as `openapi.json` holds it."""
    return json.dumps(client_document(), indent=1, ensure_ascii=False, sort_keys=False) + "\n"


def _named(part: Any) -> set[str]:
    """The schemas that a part of the document names."""
    return set(_REFERENCE.findall(json.dumps(part)))

"""docs/security.md says of every route who may call it: compared with the routes that there are, and with the gate."""

import re

from fastapi.routing import APIRoute

from configs.settings import PROJECT_DIR, Ports, Settings
from deployments.access.scopes import ADMIN, WHOAMI, needed_scope
from deployments.console.console import Console
from deployments.console.page_files import page_routes
from deployments.console.routes import console_api
from deployments.events.endpoints import events_endpoints
from deployments.recommend.endpoints import recommend_endpoints

ROW = re.compile(r"^\| `([A-Z]+) (/[^`]*)` \| ([a-z, ]+) \|$", re.MULTILINE)


def _no_console() -> Console:
    raise RuntimeError("only the routes are looked at")


def routes() -> set[tuple[str, str]]:
    """Every route of the three applications, pages and documentation among them."""
    serving = Settings().serving
    hot = [*recommend_endpoints(_no_console, serving), *events_endpoints(_no_console, serving)]  # type: ignore[arg-type]
    app = console_api(_no_console, serving, hot)
    found = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    found |= {("POST", endpoint.path) for endpoint in hot}
    found |= {("GET", route.path.replace(":path", "")) for route in page_routes().routes if isinstance(route, APIRoute)}
    for route in app.routes:  # pages of the documentation, which describe themselves nowhere
        path = getattr(route, "path", None)
        if path is not None and not getattr(route, "include_in_schema", False):
            found.add(("GET", path))
    return found | {("GET", WHOAMI)}


def test_the_table_names_every_route_and_what_opens_it() -> None:
    text = (PROJECT_DIR / "docs" / "security.md").read_text()
    table = {(method, path): scopes for method, path, scopes in ROW.findall(text)}
    found = routes()
    assert len(found) > 50
    assert set(table) == found - {("GET", "/console/plotly.js")}
    for (method, path), scopes in table.items():
        need = needed_scope(method, path)
        assert scopes == ("anybody" if need is None else ", ".join(dict.fromkeys((*need, "admin")))), (method, path)


def test_what_is_not_named_is_for_admins_and_a_slash_at_the_end_changes_nothing() -> None:
    for method, path in (
        ("GET", "/api/v1/new"), ("GET", "/api/v1/keys/one"), ("GET", "/api/v1/audit/"), ("GET", "/api/v2/items"),
        ("POST", "/health"), ("OPTIONS", "/api/v1/recommend"), ("GET", "/api/v1/experiments/e/users/"),
        ("GET", "/api/v1/data/events//"), ("GET", "/api/v1/itemsx"), ("PATCH", "/"),
    ):  # fmt: skip
        assert needed_scope(method, path) == ADMIN, (method, path)
    for method, path in routes():
        assert needed_scope(method, path) == needed_scope(method, f"{path}/"), path
        assert method != "GET" or needed_scope("HEAD", path) == needed_scope("GET", path), path


def test_every_port_of_the_stack_has_a_row() -> None:
    text = (PROJECT_DIR / "docs" / "security.md").read_text()
    for name, port in Ports().model_dump().items():
        assert re.search(rf"^\| {port}[^|]* `{name}` \|", text, re.MULTILINE), (name, port)

"""Pages of other sites, in a real browser on this machine: they change nothing and read nothing."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import RunningStack
from tests.console.conftest import FLAGS, NAMES

pytestmark = pytest.mark.stack
REBOUND = "rebound.example"
VICTIM = "victim of another site"
EVENT = f'{{"user_id": "{VICTIM}", "item_id": "50", "event_type": "like"}}'
SEND = """
async ([url, body]) => {
  const tried = []
  const attempt = async (name, options) => {
    try { tried.push([name, (await fetch(url, { method: "POST", ...options })).type]) }
    catch (e) { tried.push([name, "refused"]) }
  }
  await attempt("text", { mode: "no-cors", body, headers: { "Content-Type": "text/plain" } })
  await attempt("no type", { mode: "no-cors", body: new Blob([body]) })
  await attempt("form", { mode: "no-cors", body: new URLSearchParams({ [body]: "" }) })
  await attempt("json", { mode: "cors", body, headers: { "Content-Type": "application/json" } })
  await attempt("put", { method: "PUT", mode: "cors", body, headers: { "Content-Type": "application/json" } })
  tried.push(["beacon", navigator.sendBeacon(url, body)])
  return tried
}
"""
FORM = """
([url, body]) => {
  const form = document.createElement("form")
  form.method = "post"; form.enctype = "text/plain"; form.action = url
  const field = document.createElement("input")
  field.name = body.slice(0, -1) + ', "context": {"a": "'; field.value = '"}}'
  form.append(field); document.body.append(form); form.submit()
}
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another site of this machine, with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser for which a foreign name leads to this machine."""
    program = next(filter(None, map(shutil.which, NAMES)))
    rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    launched = browser.browser_type.launch(executable_path=program, args=[*FLAGS, rules], headless=True)
    yield launched.new_page()
    launched.close()


def known(api: httpx.Client) -> bool:
    return api.get(f"/api/v1/users/{VICTIM}").status_code != 404


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_records_nothing(
    page: Page, elsewhere: int, stack: RunningStack, api: httpx.Client, name: str
) -> None:
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if answer.request.method == "POST" else None)
    page.goto(f"http://{name}:{elsewhere}/")
    url = f"{stack.url}/api/v1/events"
    tried = dict(page.evaluate(SEND, [url, EVENT]))
    assert (tried["json"], tried["put"]) == ("refused", "refused")  # nobody answered what the browser asked before
    page.evaluate(FORM, [url, EVENT])
    page.wait_for_url(url)
    assert "cross_site" in page.content()
    assert len(statuses) >= 4
    assert set(statuses) == {403}
    assert not known(api)


def test_a_page_of_another_origin_moves_no_model(
    page: Page, elsewhere: int, stack: RunningStack, api: httpx.Client
) -> None:
    before = [api.get(path).json() for path in ("/api/v1/models", "/api/v1/mlops/jobs")]
    page.goto(f"http://127.0.0.1:{elsewhere}/")
    for path in ("/api/v1/models/rollback", "/api/v1/mlops/trigger-retrain", "/api/v1/models/challenger/clear"):
        with page.expect_response(f"{stack.url}{path}") as sent:
            page.evaluate("url => fetch(url, { method: 'POST', mode: 'no-cors' })", f"{stack.url}{path}")
        assert sent.value.status == 403
    after = [api.get(path).json() for path in ("/api/v1/models", "/api/v1/mlops/jobs")]
    assert (after[0]["slots"], after[1]) == (before[0]["slots"], before[1])


def test_a_name_that_was_made_to_lead_here_reads_nothing_and_records_nothing(
    page: Page, stack: RunningStack, api: httpx.Client
) -> None:
    site = f"http://{REBOUND}:{stack.settings.ports.http}"
    answer = page.goto(f"{site}/")
    assert answer is not None
    assert answer.status == 403
    read = "async url => { const a = await fetch(url); return [a.status, await a.text()] }"
    for path in ("/api/v1/models", "/api/v1/users?query=", "/health", "/openapi.json"):
        status, text = page.evaluate(read, f"{site}{path}")
        assert (status, "unknown_host" in text) == (403, True), path
    send = """async ([url, body]) =>
        (await fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" } })).status"""
    assert page.evaluate(send, [f"{site}/api/v1/events", EVENT]) == 403
    assert not known(api)


def test_the_console_itself_may(page: Page, stack: RunningStack, api: httpx.Client) -> None:
    """The same event, sent by the page that belongs here: the others failed for where they came from."""
    page.goto(f"{stack.url}/health/live")
    send = """async ([url, body]) =>
        (await fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" } })).status"""
    assert page.evaluate(send, ["/api/v1/events", EVENT]) == 200
    assert known(api)
    api.delete(f"/api/v1/users/{VICTIM}").raise_for_status()

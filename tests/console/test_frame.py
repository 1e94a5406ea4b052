"""What all pages share: themes, widths, keyboard, labels, policy, freshness."""

import itertools
import re
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Error, Page, expect

pytestmark = pytest.mark.stack
PAGES = ("overview", "recommendations", "experiments", "models", "catalogue", "data", "access")
THEMES = ("dark", "light")
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, textarea, [role=img], dialog, nav")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length ||
                     document.getElementById(one.getAttribute("aria-labelledby"))))
  .map((one) => one.outerHTML)"""
INJECT = """() => {
  const script = document.createElement("script")
  script.textContent = "window.injected = 1"
  document.body.append(script)
}"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden })
  document.dispatchEvent(new Event("visibilitychange"))
}"""


def settle(page: Page) -> None:
    """Until two ticks have come and nothing is loading."""
    for _ in range(2):
        with page.expect_response("**/api/v1/console/snapshot"):
            pass
    expect(page.locator(".loading")).to_have_count(0)


def wear(page: Page, theme: str) -> None:
    """Let the system ask for a theme; the page must wear it at once."""
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    shade = sum(map(int, re.findall(r"\d+", background)[:3]))
    assert (shade > 600) == (theme == "light"), background


@pytest.mark.parametrize("name", PAGES)
def test_each_page_fits_a_phone_and_a_wide_screen_in_both_themes(open_page: Any, until: Any, name: str) -> None:
    page = open_page(f"#/{name}", width=360)
    settle(page)
    for theme, width in itertools.product(THEMES, (360, 1920)):
        wear(page, theme)
        page.set_viewport_size({"width": width, "height": 900})
        # Charts follow a new width a moment later.
        until(page, f"document.documentElement.scrollWidth <= {width}")
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator(f'nav [data-page="{name}"]')).to_have_attribute("aria-current", "page")
        assert page.locator("main").count() == page.locator("header").count() == 1
        assert page.evaluate(NAMELESS) == []


def test_a_chosen_theme_stays(open_page: Any) -> None:
    page = open_page(theme="light")
    page.get_by_role("button", name="Change to the dark theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    expect(page.get_by_role("button", name="Change to the light theme")).to_be_visible()


def test_everything_comes_from_this_server_under_a_strict_policy(open_page: Any, stack: Any, api: httpx.Client) -> None:
    page = open_page(expected=("Content Security Policy",))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in PAGES:
        page.goto(f"{stack.url}/#/{name}")
        page.reload()
        settle(page)
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(stack.url).netloc}
    policy = api.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    page.evaluate(INJECT)
    assert page.evaluate("window.injected") is None


def test_the_keyboard_alone_goes_everywhere(open_page: Any) -> None:
    page = open_page()
    settle(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.evaluate("document.activeElement.blur()")
    page.locator(".brand").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Recommendations")
    expect(page.locator("h1")).to_be_focused()
    like = page.get_by_role("button", name=re.compile("^Like: ")).first
    like.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''").startswith("Like: "):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".delay")).to_be_visible()


@pytest.mark.parametrize("place", ["#/nope", "#/models/nope", "#/constructor"])
def test_an_address_without_a_page_says_so(open_page: Any, place: str) -> None:
    page = open_page(place)
    expect(page.locator("h1")).to_have_text("There is no such page")
    expect(page.locator("main")).to_contain_text(place)
    expect(page.locator("nav [aria-current]")).to_have_count(0)
    page.get_by_role("link", name="Overview").last.click()
    expect(page.locator("h1")).to_have_text("Overview")
    page.go_back()
    expect(page.locator("h1")).to_have_text("There is no such page")


def test_it_says_how_stale_it_is_and_recovers(open_page: Any) -> None:
    page = open_page(expected=("Failed to load resource",))
    settle(page)
    expect(page.locator("#stale")).to_be_hidden()
    page.route("**/api/v1/console/snapshot", lambda route: route.abort())
    expect(page.locator("#stale")).to_have_text(re.compile(r"stale since \d\d:\d\d:\d\d"))
    page.unroute("**/api/v1/console/snapshot")
    expect(page.locator("#stale")).to_be_hidden()


def test_it_does_not_ask_while_nobody_looks(open_page: Any) -> None:
    page = open_page()
    settle(page)
    page.evaluate(HIDE, True)
    page.wait_for_load_state("networkidle")  # a request that was under way may still end
    with pytest.raises(Error, match="Timeout"), page.expect_request("**", timeout=2500):
        pass
    page.evaluate(HIDE, False)
    settle(page)


def test_an_unchanged_snapshot_is_not_sent_again(api: httpx.Client) -> None:
    # What happened before this test leaves the last minute's counts bit by bit.
    deadline = time.monotonic() + 90
    while True:
        tag = api.get("/api/v1/console/snapshot").headers["etag"]
        again = api.get("/api/v1/console/snapshot", headers={"If-None-Match": tag})
        if again.status_code == 304 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == tag
    assert api.get("/api/v1/console/snapshot", headers={"If-None-Match": '"another"'}).status_code == 200


OFFLINE = ("Failed to load resource", "ERR_INTERNET_DISCONNECTED", "ERR_FAILED")


def test_a_page_can_be_changed_while_the_network_is_away_and_all_comes_back(open_page: Any) -> None:
    page = open_page("#/overview", expected=OFFLINE)
    settle(page)
    page.context.set_offline(True)
    expect(page.locator("#stale")).to_contain_text("stale since")
    expect(page.locator("#health")).to_have_text("health unknown")
    page.locator('nav [data-page="models"]').click()
    expect(page.locator("h1")).to_have_text("Models")
    page.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#health")).not_to_have_text("health unknown")
    expect(page.locator("main tbody tr").first).to_be_visible()


def test_a_page_that_could_not_be_loaded_comes_by_itself(open_page: Any) -> None:
    page = open_page("#/overview", expected=OFFLINE)
    module = "**/console/models/models.js"
    page.route(module, lambda route: route.abort())
    page.route("**/api/v1/console/snapshot", lambda route: route.abort())
    page.reload()
    page.locator('nav [data-page="models"]').click()
    expect(page.get_by_role("alert")).to_contain_text("It comes by itself")
    page.unroute(module)
    page.unroute("**/api/v1/console/snapshot")
    expect(page.locator("h1")).to_have_text("Models")
    expect(page.locator("main tbody tr").first).to_be_visible()

"""The console in front of a server that asks for API keys: the stack's store and console, served by uvicorn."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from configs.settings import Security
from deployments.http.api_keys import make_key
from tests.console.served import served

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def keyed(stack: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of the guarded console, and a key of each kind."""
    made = {
        name: make_key(name, scopes, None) for name, scopes in {"operator": ["admin"], "shop": ["recommend"]}.items()
    }
    keys = tuple(kept for _, kept in made.values())
    settings = stack.settings.model_copy(update={"security": Security(keys=keys)})
    with served(settings) as url:
        yield url, {name: text for name, (text, _) in made.items()}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    context.close()


def give(page: Page, key: str) -> None:
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Use it").click()


def test_a_wrong_key_is_refused_and_an_administrators_opens_everything(
    page: Page, keyed: tuple[str, dict[str, str]]
) -> None:
    url, keys = keyed
    page.goto(url)
    expect(page.get_by_role("dialog")).to_contain_text("asks for an API key")
    give(page, "rk_guessed")
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    give(page, keys["operator"])
    expect(page.locator("h1")).to_have_text("Overview")
    expect(page.locator("#key")).to_contain_text("operator: admin")
    expect(page.locator(".components li").first).to_be_visible(timeout=30_000)
    page.reload()
    expect(page.locator("h1")).to_have_text("Overview")
    assert page.evaluate("localStorage.length === 0 || !JSON.stringify(localStorage).includes('rk_')")
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_another_tab_session_asks_again(browser: Browser, page: Page, keyed: tuple[str, dict[str, str]]) -> None:
    url, keys = keyed
    page.goto(url)
    give(page, keys["operator"])
    expect(page.locator("h1")).to_have_text("Overview")
    other = page.context.new_page()
    other.goto(url)
    expect(other.get_by_role("dialog")).to_be_visible()


def test_a_key_without_admin_shows_what_it_allows(page: Page, keyed: tuple[str, dict[str, str]]) -> None:
    url, keys = keyed
    page.goto(f"{url}/#/models")
    give(page, keys["shop"])
    expect(page.locator("h1")).to_have_text("Recommendations")
    expect(page.locator("nav a:visible")).to_have_count(1)
    expect(page.locator("#key")).to_contain_text("shop: recommend")
    expect(page.get_by_role("button", name="Comedy", exact=True)).to_be_visible()

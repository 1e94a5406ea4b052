"""Every page against axe-core's rules of WCAG 2.1, levels A and AA, in both themes."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.console.axe import axe_source
from tests.console.test_frame import PAGES, THEMES, settle, wear

pytestmark = pytest.mark.stack
RUN = """async () => {
  const rules = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }
  const found = await axe.run(document, { runOnly: rules })
  return found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(" | ")}`)
}"""
UNNAMED = """() => { const button = document.createElement("button"); document.querySelector("main").append(button) }"""


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_source()


def violations(page: Page, axe: str) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    found: list[str] = page.evaluate(RUN)
    return found


@pytest.mark.parametrize("name", [*PAGES, "catalogue/item/50", "catalogue/users", "catalogue/user/1", "nope"])
def test_each_page_follows_the_rules(open_page: Any, axe: str, name: str) -> None:
    page = open_page(f"#/{name}")
    settle(page)
    for theme in THEMES:
        wear(page, theme)
        assert violations(page, axe) == [], theme


def test_the_check_finds_a_button_without_a_name(open_page: Any, axe: str) -> None:
    page = open_page()
    settle(page)
    page.evaluate(UNNAMED)
    assert [line.split(":")[0] for line in violations(page, axe)] == ["button-name"]

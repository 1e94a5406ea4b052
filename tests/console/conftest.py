"""A real Chromium in front of the running stack."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, expect

from tests.conftest import RunningStack
from tests.shared_browser import open_browser

# The shell has Chromium's engine without its window: opening a page takes it an eighth of the processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def browser() -> Browser:
    """Chromium, or a skip on a machine without one; in CI its absence is a failure."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium on PATH: .ci/run installs it")
        pytest.skip("no Chromium on PATH: the console's tests need one")
    return open_browser(program, FLAGS)


OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def stack(second_stack: RunningStack) -> RunningStack:
    """The second stack, which these tests change as they like."""
    return second_stack


@pytest.fixture
def open_page(browser: Browser, stack: Any) -> Iterator[OpenPage]:
    """Opens pages of the console; the test fails when one of them writes an error to its console or throws.

    `expected` are parts of messages that the test provokes. A missing user is asked for by a request that answers 404,
    which Chromium itself writes to the console.
    """
    complaints: list[str] = []
    contexts = []

    def open_one(
        place: str = "#/overview",
        width: int = 1280,
        height: int = 900,
        theme: str = "light",
        expected: tuple[str, ...] = (),
        script: str | None = None,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        contexts.append(context)
        if script is not None:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        allowed = ("status of 404", *expected)

        def hear(text: str) -> None:
            if not any(part in text for part in allowed):
                complaints.append(f"{place}: {text}")

        page.on("console", lambda message: hear(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: hear(str(error)))
        page.goto(f"{stack.url}/{place}")
        page.locator("h1").wait_for()
        return page

    yield open_one
    for context in contexts:
        try:
            context.close()
        except Error as error:
            complaints.append(str(error))
    assert not complaints, complaints


def wait_until(page: Page, expression: str, seconds: float = 30) -> None:
    """Until an expression is true in the page. (Playwright's own wait needs `eval` there, which the policy forbids.)"""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(100)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="package")
def api(stack: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client

"""One Chromium for tests that follow one another.

While Playwright is there its event loop runs in this thread, and `asyncio.run` of other tests would fail. So the
browser ends when a test comes next that does not ask for it, see `tests.conftest`.
"""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_open = contextlib.ExitStack()
_browsers: "list[Browser]" = []


def open_browser(program: str, flags: Sequence[str]) -> "Browser":
    """The browser that is open, or a new one."""
    from playwright.sync_api import sync_playwright

    if not _browsers:
        playwright = _open.enter_context(sync_playwright())
        _browsers.append(playwright.chromium.launch(executable_path=program, args=list(flags), headless=True))
        _open.callback(_close)
    return _browsers[0]


def _close() -> None:
    _browsers.pop().close()


def end_browser() -> None:
    """Close it, where there is one."""
    _open.close()

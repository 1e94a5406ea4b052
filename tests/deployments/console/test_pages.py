"""The console's files: sizes, headers, colours."""

import asyncio
import gzip
import re
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from deployments.console.page_files import PAGES, page_routes

TEXT_ON = [
    ("text", "surface"), ("text", "page"), ("text", "raised"), ("muted", "surface"), ("muted", "page"),
    ("muted", "raised"), ("accent-text", "surface"), ("accent-text", "accent-soft"), ("on-accent", "accent"),
    ("good", "good-soft"), ("good", "surface"), ("warn", "warn-soft"), ("bad", "bad-soft"), ("bad", "surface"),
    ("surface", "bad"), ("page", "text"),
]  # fmt: skip
Get = Callable[..., httpx.Response]


@pytest.fixture
def get() -> Get:
    app = FastAPI()
    app.include_router(page_routes())

    def ask(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(answer())

    return ask


def test_the_pages_are_small() -> None:
    files = [path for path in PAGES.rglob("*") if path.is_file()]
    assert sum(file.stat().st_size for file in files) < 200_000
    assert {file.suffix for file in files} == {".html", ".css", ".js", ".svg"}


def test_every_file_that_a_page_names_is_there(get: Get) -> None:
    named = set()
    for file in (path for path in PAGES.rglob("*") if path.is_file()):
        text = file.read_text()
        named |= set(re.findall(r'"(/console/[\w./-]+)"', text))
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), f"{file.name} names another host"
    assert len(named) > 10
    for path in named:
        assert get(path).status_code == 200, path


def test_files_are_checked_at_each_load_and_sent_once(get: Get) -> None:
    first = get("/console/frame/main.js")
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    again = get("/console/frame/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpages.py", "%2e%2e/pages.py", "console.css%00"])
def test_nothing_else_is_served(get: Get, name: str) -> None:
    assert get(f"/console/{name}").status_code == 404


def test_the_console_is_found_by_its_name(get: Get) -> None:
    answer = get("/console")
    assert (answer.status_code, answer.headers["location"]) == (308, "/")


def test_charts_come_from_the_installed_package(get: Get) -> None:
    answer = get("/console/plotly.js")
    assert answer.headers["content-encoding"] == "gzip"
    assert b"plotly.js" in answer.content[:300]
    assert len(gzip.compress(answer.content)) < 2_000_000
    again = get("/console/plotly.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def palettes() -> dict[str, dict[str, str]]:
    """The colours of both themes."""
    text = (PAGES / "console.css").read_text()
    light = re.search(r":root \{(.*?)\}", text, re.DOTALL)
    dark = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', text, re.DOTALL)
    assert light is not None
    assert dark is not None
    read = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", found[1])) for found in (light, dark)]
    return {"light": read[0], "dark": {**read[0], **read[1]}}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), TEXT_ON)
def test_text_has_the_contrast_that_wcag_aa_asks_for(theme: str, ink: str, paper: str) -> None:
    colours = palettes()[theme]
    light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_two_ways_to_the_dark_theme_have_the_same_colours() -> None:
    text = (PAGES / "console.css").read_text()
    by_system = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', text, re.DOTALL)
    by_choice = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', text, re.DOTALL)
    assert by_system is not None
    assert by_choice is not None
    assert by_system[1].split() == by_choice[1].split()

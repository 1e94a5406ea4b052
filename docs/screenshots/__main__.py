"""`make screenshots`: pictures of the console for README and docs, of the stack that runs, while people use it.

The people are simulated, and marked as such: for half a minute they ask for lists and take some of them up, so that the
charts have something to show. Every number in the pictures is what the system measured meanwhile.
"""

import random
import shutil
import sys
import threading
import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from configs.settings import load_settings

FOLDER = Path(__file__).parents[1] / "pictures"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
TRAFFIC_S = 40.0
LARGEST = 400_000
SIMULATED = {"simulated": True}  # so that no model learns from them


def use(url: str, until: threading.Event, seed: int) -> None:
    """Ask as one user after another, and take up some of what is shown."""
    chance = random.Random(seed)  # noqa: S311 - which picture it makes is no secret
    with httpx.Client(base_url=url, timeout=10) as http:
        while not until.is_set():
            user = chance.randint(1, 943)
            answer = http.post("/api/v1/recommend", json={"user_id": user, "context": SIMULATED}).json()
            if chance.random() < 0.5 and answer.get("recommendations"):
                event = {
                    "user_id": user,
                    "item_id": chance.choice(answer["recommendations"])["item_id"],
                    "event_type": chance.choice(["click", "like", "view"]),
                    "recommendation_id": answer["recommendation_id"],
                    "context": SIMULATED,
                }
                http.post("/api/v1/events", json=event)
            until.wait(0.2)


def shoot(page: Page, name: str) -> None:
    """Write the picture of a page. Raises SystemExit for one that is too large for a README."""
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    print(f"{path.name}: {size / 1000:.0f} KB")
    if size > LARGEST:
        raise SystemExit(f"{path} has {size} bytes, more than {LARGEST}")


def shown_experiment(url: str) -> str:
    """The newest experiment that found something, else the newest."""
    with httpx.Client(base_url=url, timeout=10) as http:
        found = [one["id"] for one in http.get("/api/v1/experiments").json()["experiments"] if one["started_ms"]]
        for one in found:
            if http.get(f"/api/v1/experiments/{one}/results").json()["decision"]["action"] == "ship":
                return str(one)
    return str(found[0]) if found else ""


def pictures(browser: Browser, url: str) -> None:
    """Take every picture, of a console that has something to show."""

    def opened(place: str, theme: str, width: int, height: int) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
        page.goto(f"{url}/#/{place}")
        page.locator("h1").wait_for()
        return page

    overview = opened("overview", "light", 1280, 1000)
    recommendations = opened("recommendations?user=newcomer&live=1", "light", 1280, 1000)
    time.sleep(TRAFFIC_S - 8)
    for number in (0, 2):
        with recommendations.expect_response("**/api/v1/users/**"):
            recommendations.locator(".items > li").nth(number).get_by_text("Like", exact=True).click()
    recommendations.locator(".delay").wait_for()
    recommendations.wait_for_timeout(2500)  # what is new in the list is lit up at first
    shoot(recommendations, "recommendations")
    shoot(overview, "overview")
    for name, place, theme, height in (
        ("experiments", f"experiments?id={shown_experiment(url)}", "dark", 1500),
        ("models", "models", "dark", 800),
        ("catalogue", "catalogue/item/50", "light", 1000),
        ("data", "data", "dark", 1000),
    ):
        page = opened(place, theme, 1280, height)
        while page.locator(".loading").count():
            page.wait_for_timeout(200)
        page.wait_for_timeout(3000)  # for the charts
        shoot(page, name)
    phone = opened("recommendations?user=newcomer", "dark", 390, 844)
    phone.locator(".items > li").first.wait_for()
    shoot(phone, "phone")


def main() -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    url = f"http://127.0.0.1:{load_settings().ports.http}"
    try:
        httpx.get(f"{url}/health/ready", timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        print(f"screenshots: {url} is not ready, start it with make up: {error}", file=sys.stderr)
        return 1
    if program is None:
        print("screenshots: no chromium on PATH", file=sys.stderr)
        return 1
    done = threading.Event()
    people = [threading.Thread(target=use, args=(url, done, seed)) for seed in range(4)]
    for person in people:
        person.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), headless=True)
            pictures(browser, url)
            browser.close()
    finally:
        done.set()
        for person in people:
            person.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())

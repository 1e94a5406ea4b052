"""The overview shows the API's numbers, and they move."""

import time
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.stack
TOTAL = 'xpath=//dd[@data-tile="{name}"]/following-sibling::dd'


def total(page: Page, name: str) -> int:
    """The number in `1,234 in all` below a tile."""
    text = page.locator(TOTAL.format(name=name)).inner_text()
    return int(text.split()[0].replace(",", "")) if text[:1].isdigit() else -1


def wait_for_total(page: Page, name: str, wanted: int) -> None:
    deadline = time.monotonic() + 30
    while total(page, name) != wanted:
        assert time.monotonic() < deadline, f"{name}: shown {total(page, name)}, the API says {wanted}"
        page.wait_for_timeout(100)


def counted(api: httpx.Client, requests: int, events: int) -> None:
    """Until the replicas have reported all."""
    deadline = time.monotonic() + 30
    while True:
        found = api.get("/api/v1/console/snapshot").json()
        if found["system"]["requests"]["recommend"]["total"] >= requests and (
            found["learning"]["events_total"] >= events
        ):
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_traffic_changes_the_numbers_and_they_equal_the_api(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/overview")
    for more in (3, 5):
        before = api.get("/api/v1/metrics/dashboard").json()
        asked = api.get("/api/v1/metrics/system").json()["requests"]["recommend"]["total"] + more
        events = before["learning"]["events_total"] + more
        for number in range(more):
            assert api.post("/api/v1/recommend", json={"user_id": f"overview-{number}"}).status_code == 200
            body = {"user_id": f"overview-{number}", "item_id": 50 + more, "event_type": "click"}
            assert api.post("/api/v1/events", json=body).status_code == 200
        counted(api, asked, events)
        wait_for_total(page, "requests", asked)
        wait_for_total(page, "events", events)
    system = api.get("/api/v1/metrics/system").json()
    assert system["latency"]["total"]["p50_ms"] is not None
    expect(page.locator('[data-tile="latency"]')).not_to_have_class("unknown ")
    champion = api.get("/api/v1/models").json()["slots"]["champion"]["version"]
    expect(page.locator(".facts").get_by_text(champion)).to_be_visible()
    for name in ("Online store", "Model registry", "Disk"):
        expect(page.locator(".components strong").get_by_text(name)).to_be_visible()


def test_new_events_are_shown_by_what_they_count_for(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/overview")
    deadline = time.monotonic() + 30
    while (learning := api.get("/api/v1/metrics/dashboard").json()["learning"])["events_counted"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert learning["events_counted"] <= learning["events_since_training"]
    expect(page.locator(TOTAL.format(name="since"))).to_contain_text(
        f"count; retrains above {learning['new_events_threshold']:,}. In all "
    )


def test_charts_are_drawn_and_move(open_page: Any, until: Any) -> None:
    page = open_page("#/overview")
    line = page.locator(".plot .scatterlayer path.js-line").first
    line.wait_for(state="attached")
    end = "document.querySelector('.js-plotly-plot').layout.xaxis.range[1]"
    until(page, f"{end} > {page.evaluate(end)}")


def test_what_nobody_has_measured_is_not_shown_as_a_number(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/overview")
    drift = api.get("/api/v1/metrics/model").json()["drift"]
    assert all(one["value"] is None for one in drift), "the tests' few lists do not fill a window"
    expect(page.locator('[data-tile="drift"]')).to_have_text("–")
    expect(page.locator(TOTAL.format(name="drift"))).to_have_text("not measured yet")


def test_a_decision_appears_in_the_timeline(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/overview")
    newest = api.get("/api/v1/mlops/timeline", params={"limit": 1}).json()["entries"][0]
    expect(page.locator(".timeline li").first).to_contain_text(newest["text"])

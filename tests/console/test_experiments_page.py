"""The experiments page: an experiment from its draft to its archive, with the API's own numbers."""

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.stack
SLOW_MS = 120_000
USERS = 60


def browse(api: httpx.Client, experiment: str, users: int, clicks: Callable[[int, str], bool]) -> None:
    """Simulated users, who take up what is shown first where `clicks` says so of their number and variant."""
    deadline = time.monotonic() + 30
    probe = {"user_id": "experiment-0", "context": {"simulated": True}}
    while api.post("/api/v1/recommend", json=probe).json()["experiment"] != experiment:
        assert time.monotonic() < deadline, "the replicas follow a start within a fraction of a second"
        time.sleep(0.05)
    for number in range(users):
        user = f"experiment-{number}"
        body = {"user_id": user, "context": {"simulated": True}}
        shown = api.post("/api/v1/recommend", json=body).json()
        if clicks(number, shown["variant"]):
            event = {
                "user_id": user,
                "item_id": shown["recommendations"][0]["item_id"],
                "event_type": "like",
                "recommendation_id": shown["recommendation_id"],
                "context": {"simulated": True},
            }
            api.post("/api/v1/events", json=event).raise_for_status()


def the_one(api: httpx.Client) -> dict[str, Any]:
    """The newest experiment."""
    found: dict[str, Any] = api.get("/api/v1/experiments").json()["experiments"][0]
    return found


def step(page: Page, name: str, reason: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason, for the log").fill(reason)
    dialog.get_by_role("button", name=name, exact=True).click()
    expect(dialog).to_have_count(0, timeout=SLOW_MS)


def test_an_experiment_lives_through_the_page(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/experiments")
    page.get_by_role("button", name="New experiment").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("What do you expect, and why?").fill("<b>both</b> are the same model")
    dialog.get_by_label("Treatment", exact=True).select_option("slot:champion")
    dialog.get_by_label("Guardrail").select_option("mean_rating")
    dialog.get_by_label("Least days").fill("0")
    dialog.get_by_label("Least users a variant").fill("5")
    dialog.get_by_label("Effect to find, absolute").fill("0.2")
    dialog.get_by_role("button", name="Make the draft").click()
    expect(dialog).to_have_count(0)
    made = the_one(api)
    assert made["status"] == "draft"
    assert [variant["weight"] for variant in made["variants"]] == [0.5, 0.5]
    assert made["planned_effect"] == 0.2
    expect(page.get_by_text("<b>both</b> are the same model", exact=True)).to_be_visible()

    step(page, "Start", "a test of the console")
    assert the_one(api)["status"] == "running"
    browse(api, made["id"], USERS, lambda number, _: number < USERS // 2)
    expect(page.get_by_text("simulated traffic", exact=True)).to_be_visible()
    deadline = 100
    while deadline and page.locator(".tile", has_text="Users").locator("dd").first.inner_text() != str(USERS):
        deadline -= 1
        page.wait_for_timeout(300)
    results = api.get(f"/api/v1/experiments/{made['id']}/results").json()
    assert results["traffic"] == "simulated"
    assert sum(arm["users"] for arm in results["variants"]) == USERS
    for arm in results["variants"]:
        row = page.locator(f'tr[data-variant="{arm["name"]}"]')
        numbers = row.locator("td.numeric")
        expect(numbers.nth(1)).to_have_text(str(arm["users"]))
        # Half a unit of the last place may be written either way.
        clicked = float(numbers.nth(4).inner_text().split()[0])
        assert clicked == pytest.approx(arm["metrics"]["click_through"]["value"], abs=6e-5)
    expect(page.get_by_text(results["decision"]["reason"])).to_be_visible()
    ratio = f"p = {results['sample_ratio']['always_valid_p_value']:.3f}"
    expect(page.locator(".tile", has_text="Sample ratio")).to_contain_text(ratio)
    expect(page.locator(".plot .scatterlayer")).to_have_count(
        3, timeout=SLOW_MS
    )  # values, difference, difference over time
    expect(page.locator(".components", has_text="mean rating")).to_be_visible()

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    assert the_one(api)["status"] == "running"
    step(page, "Stop", "enough of it")
    assert the_one(api)["status"] == "stopped"
    expect(page.locator(".timeline")).to_contain_text("enough of it")

    # The same model twice: there is nothing to promote, and the server would refuse it.
    assert api.get(f"/api/v1/experiments/{made['id']}/results").json()["decision"]["winner"] is None
    expect(page.get_by_role("button", name="Archive", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Promote")).to_have_count(0)
    step(page, "Archive", "done")
    assert the_one(api)["status"] == "archived"


def test_the_winner_is_offered_once_there_is_one(open_page: Any, api: httpx.Client) -> None:
    definition = {
        "hypothesis": "one is clicked more",
        "variants": [
            {"name": "plain", "slot": "champion", "weight": 0.5},
            {"name": "other", "slot": "champion", "weight": 0.5},
        ],
        "minimum_days": 0,
        "minimum_users": 10,
        "planned_users": 20,
    }
    made = api.post("/api/v1/experiments", json=definition).json()
    assert api.post(f"/api/v1/experiments/{made['id']}/start", timeout=120).status_code == 200
    try:
        browse(api, made["id"], USERS, lambda number, variant: (number % 7 == 0) ^ (variant == "other"))
    finally:
        assert api.post(f"/api/v1/experiments/{made['id']}/stop").status_code == 200
    decision = api.get(f"/api/v1/experiments/{made['id']}/results").json()["decision"]
    assert decision["winner"] == "other", decision
    page = open_page(f"#/experiments?id={made['id']}")
    page.get_by_role("button", name="Promote the winner").click()
    expect(page.get_by_role("dialog").get_by_label("Variant").locator("option")).to_have_text(
        ["other, as decided", "plain"]
    )
    page.keyboard.press("Escape")
    step(page, "Promote the winner", "it is clicked more")
    expect(page.get_by_role("button", name="Promote")).to_have_count(0)
    assert the_one(api)["winner"] == "other"
    step(page, "Archive", "done")


def test_a_running_experiment_has_a_column_for_each_variant(open_page: Any, api: httpx.Client) -> None:
    definition = {
        "hypothesis": "columns",
        "variants": [
            {"name": "plain", "slot": "champion", "weight": 0.5},
            {"name": "other", "slot": "champion", "weight": 0.5},
        ],
        "minimum_days": 0,
    }
    made = api.post("/api/v1/experiments", json=definition).json()
    assert api.post(f"/api/v1/experiments/{made['id']}/start", timeout=120).status_code == 200
    try:
        page = open_page("#/recommendations?user=196")
        for name in ("plain", "other"):
            expect(page.locator(f'[data-variant="{name}"] .items > li')).to_have_count(10)
        results = api.get(f"/api/v1/experiments/{made['id']}/results").json()
        assert [arm["lists"] for arm in results["variants"]] == [0, 0], "what is looked at here counts for nothing"
    finally:
        api.post(f"/api/v1/experiments/{made['id']}/stop")
        api.post(f"/api/v1/experiments/{made['id']}/archive")


def test_an_impossible_draft_is_refused_in_its_window(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/experiments", expected=("status of 422",))
    before = len(api.get("/api/v1/experiments").json()["experiments"])
    page.get_by_role("button", name="New experiment").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("What do you expect, and why?").fill("too few")
    dialog.get_by_label("Least users a variant").evaluate(
        "(input) => { input.removeAttribute('min'); input.value = '1' }"
    )
    dialog.get_by_role("button", name="Make the draft").click()
    expect(dialog.get_by_role("alert")).to_contain_text(re.compile("minimum_users"))
    assert len(api.get("/api/v1/experiments").json()["experiments"]) == before


def test_an_unknown_experiment_is_not_another_one(open_page: Any, api: httpx.Client) -> None:
    definition = {
        "hypothesis": "it is not what was asked for",
        "variants": [{"name": name, "slot": "champion", "weight": 0.5} for name in ("plain", "other")],
    }
    made = api.post("/api/v1/experiments", json=definition).json()["id"]
    try:
        page = open_page("#/experiments?id=no-such-experiment")
        expect(page.get_by_role("alert")).to_contain_text("There is no experiment no-such-experiment.")
        expect(page.locator("[aria-pressed=true]")).to_have_count(0)
        expect(page.locator("main")).not_to_contain_text("it is not what was asked for")
        page.get_by_role("button", name=made).click()
        expect(page.get_by_text("it is not what was asked for", exact=True)).to_be_visible()
        page.go_back()
        expect(page.get_by_role("alert")).to_contain_text("There is no experiment no-such-experiment.")
    finally:
        api.post(f"/api/v1/experiments/{made}/archive")

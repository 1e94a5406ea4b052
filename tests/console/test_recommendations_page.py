"""The recommendations page: what is done through it happens in the system, and the list follows."""

import re
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.stack
INJECTION = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script>'


def shown(page: Page) -> list[str]:
    return page.locator(".items > li").evaluate_all("(lines) => lines.map((line) => line.dataset.item)")


def live(page: Page) -> Locator:
    return page.get_by_role("switch", name="Live")


def test_the_list_is_the_apis_and_a_like_changes_it(open_page: Any, api: httpx.Client) -> None:
    user = f"liker-{uuid.uuid4().hex[:8]}"
    page = open_page(f"#/recommendations?user={user}")
    expect(page.locator(".items > li")).to_have_count(10)
    with page.expect_response("**/api/v1/recommend"):
        live(page).check()
    expect(page.locator(".items > li")).to_have_count(10)
    listed = api.post("/api/v1/recommend", json={"user_id": user}).json()["recommendations"]
    assert shown(page) == [str(entry["item_id"]) for entry in listed]
    first = shown(page)[0]
    page.get_by_role("button", name=re.compile("^Like: ")).first.click()
    expect(page.locator(".delay")).to_have_attribute("data-changed", "true")
    assert 0 < float(page.locator(".delay").get_attribute("data-delay-ms") or 0) < 30_000
    expect(page.locator(f'.items > li[data-item="{first}"]')).to_have_count(0)
    known = api.get(f"/api/v1/users/{user}").json()
    assert [(str(entry["item_id"]), entry["event_type"]) for entry in known["history"]] == [(first, "like")]
    export = api.get(f"/api/v1/users/{user}/export").json()
    assert export["events"][0]["recommendation_id"], "the event names the list that it came from"
    expect(page.locator(".history li")).to_have_count(1)
    after = api.post("/api/v1/recommend", json={"user_id": user}).json()["recommendations"]
    assert shown(page) == [str(entry["item_id"]) for entry in after]


def test_looking_is_no_traffic(open_page: Any, api: httpx.Client) -> None:
    user = f"looked-at-{uuid.uuid4().hex[:8]}"
    page = open_page(f"#/recommendations?user={user}")
    expect(page.locator(".items > li")).to_have_count(10)
    with page.expect_response("**/api/v1/recommend"):
        page.get_by_label("Titles", exact=True).select_option("20")
    expect(page.locator(".items > li")).to_have_count(20)
    assert api.get(f"/api/v1/users/{user}/export").status_code == 404, "nothing of this user is kept"
    for press in ("Like", "Dislike"):
        page.get_by_role("button", name=re.compile(f"^{press}: ")).first.click()
        expect(page.locator(".delay")).to_contain_text(f"the {press.lower()} of")
        expect(page.locator(".delay")).to_contain_text("was not sent")
    assert api.get(f"/api/v1/users/{user}/export").status_code == 404, "nothing of this user is kept"
    with page.expect_response("**/api/v1/recommend"):
        live(page).check()
    expect(page.locator("#mode")).to_contain_text("is logged as shown to this user")
    expect(page.locator(".items > li")).to_have_count(20)
    assert api.get(f"/api/v1/users/{user}/export").json()["exposures"]
    page.reload()
    expect(live(page)).to_be_checked()


def test_back_leads_to_the_user_before(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/recommendations?user=1")
    expect(page.locator(".items > li")).to_have_count(10)
    first = shown(page)
    page.get_by_label("User", exact=True).fill("2")
    page.get_by_role("button", name="Recommend", exact=True).click()
    expect(page).to_have_url(re.compile("user=2$"))
    expect(page.locator(".items > li").first).not_to_have_attribute("data-item", first[0])
    page.go_back()
    expect(page.get_by_label("User", exact=True)).to_have_value("1")
    expect(page.locator(".items > li").first).to_have_attribute("data-item", first[0])
    assert shown(page) == first


def test_a_rating_and_a_click_reach_the_system(open_page: Any, api: httpx.Client) -> None:
    user = f"rater-{uuid.uuid4().hex[:8]}"
    page = open_page(f"#/recommendations?user={user}&live=1")
    page.get_by_label(re.compile("^Rate: ")).first.select_option("5")
    expect(page.locator(".history li")).to_have_count(1)
    page.get_by_role("button", name=re.compile("^Click: ")).first.click()
    expect(page.locator(".history li")).to_have_count(2)
    page.get_by_role("button", name=re.compile("^Dislike: ")).first.click()
    expect(page.locator(".history li")).to_have_count(3)
    history = api.get(f"/api/v1/users/{user}").json()["history"]
    assert [(entry["event_type"], entry["value"]) for entry in history] == [
        ("dislike", None),
        ("click", None),
        ("rating", 5.0),
    ]


def test_a_new_user_gets_a_labelled_list(open_page: Any) -> None:
    page = open_page("#/recommendations")
    expect(page.locator(".history li").first).to_be_visible()
    page.get_by_role("button", name="New user").click()
    expect(page.get_by_text("nothing known of the user yet")).to_be_visible()
    expect(page.locator("#user")).to_have_value(re.compile("^visitor-"))
    expect(page.get_by_text("Nothing is known of this user yet")).to_be_visible()


def test_filters_hold(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/recommendations?user=196")
    war = page.get_by_role("button", name="War", exact=True)
    with page.expect_response("**/api/v1/recommend"):
        war.click()
    expect(page.locator(".items > li .line:has-text('War')")).to_have_count(10)
    with page.expect_response("**/api/v1/recommend"):
        war.click()
    expect(page.get_by_role("button", name="without War")).to_be_visible()
    expect(page.locator(".items > li .line:has-text('War')")).to_have_count(0)
    expect(page.locator(".items > li")).to_have_count(10)
    with page.expect_response("**/api/v1/recommend"):
        page.get_by_label("Titles", exact=True).select_option("20")
    expect(page.locator(".items > li")).to_have_count(20)


def test_similar_items_are_those_of_the_api(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/recommendations?user=196")
    button = page.get_by_role("button", name=re.compile("^Similar: ")).first
    button.click()
    item = shown(page)[0]
    wanted = [row["title"] for row in api.get(f"/api/v1/items/{item}/similar?limit=15").json()["items"]]
    rows = page.locator("dialog tbody tr")
    expect(rows).to_have_count(len(wanted))
    assert page.locator("dialog tbody th").all_inner_texts() == wanted
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(button).to_be_focused()


def test_what_people_type_is_shown_as_text(open_page: Any, api: httpx.Client) -> None:
    assert api.put("/api/v1/items/console-injection", json={"title": INJECTION, "genres": [INJECTION[:40]]}).is_success
    try:
        user = f"<b>{uuid.uuid4().hex[:8]}</b>"
        page = open_page(f"#/recommendations?user={quote(user)}&live=1")
        page.get_by_label("Find a title").fill("onerror")
        page.locator(".suggestions").get_by_text(INJECTION, exact=True).wait_for()
        page.locator(".suggestions").get_by_role("button", name=re.compile("^Like: ")).click()
        expect(page.locator(".history li .title")).to_have_text([INJECTION])
        expect(page.locator("#user")).to_have_value(user)
        assert page.locator("main img").count() == page.locator("main script").count() == 0
        assert page.evaluate("window.hacked") is None
        assert api.get(f"/api/v1/users/{quote(user)}").json()["user_id"] == user
    finally:
        api.delete("/api/v1/items/console-injection")


def test_a_refused_event_says_why_and_the_list_stays(open_page: Any) -> None:
    page = open_page("#/recommendations?user=console-refused&live=1", expected=("status of 503",))
    before = shown(page) or page.locator(".items > li").first.wait_for() or shown(page)
    answer = '{"error": {"code": "store_unavailable", "message": "the online store does not answer: a test"}}'
    page.route("**/api/v1/events", lambda route: route.fulfill(status=503, body=answer))
    page.get_by_role("button", name=re.compile("^Like: ")).first.click()
    expect(page.locator(".toast.bad")).to_have_text("the online store does not answer: a test")
    assert shown(page) == before

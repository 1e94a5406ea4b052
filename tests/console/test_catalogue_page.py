"""The catalogue page: items and users are found, shown and changed as the API has them."""

import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.stack
ROWS = "main tbody th"


@pytest.fixture
def item(api: httpx.Client) -> Iterator[str]:
    """An item of this test's own, without year and categories."""
    name = f"own-{uuid.uuid4().hex[:8]}"
    api.put(f"/api/v1/items/{name}", json={"title": name}).raise_for_status()
    yield name
    api.delete(f"/api/v1/items/{name}")


def titles(api: httpx.Client, **asked: Any) -> list[str]:
    return [one["title"] for one in api.get("/api/v1/items", params={"limit": 50, **asked}).json()["items"]]


def test_items_are_found_in_the_apis_order_and_pages_have_addresses(open_page: Any, api: httpx.Client) -> None:
    page = open_page("#/catalogue")
    total = api.get("/api/v1/items", params={"limit": 1}).json()["total"]
    expect(page.get_by_role("status").filter(has_text="items")).to_have_text(f"{total:,} items")
    first = titles(api)
    expect(page.locator(ROWS)).to_have_text(first)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(ROWS).first).not_to_have_text(first[0])
    page.go_back()
    expect(page.locator(ROWS)).to_have_text(first)
    page.get_by_label("Find", exact=True).fill("star")
    found = titles(api, query="star")
    assert len(found) > 1
    expect(page.locator(ROWS)).to_have_text(found)
    page.get_by_label("Category", exact=True).select_option("War")
    both = titles(api, query="star", category="War")
    assert 0 < len(both) < len(found)
    expect(page.locator(ROWS)).to_have_text(both)
    page.reload()
    expect(page.locator(ROWS)).to_have_text(both)
    expect(page.get_by_label("Find", exact=True)).to_have_value("star")


@pytest.mark.parametrize(("address", "asked"), [("#/catalogue", "items"), ("#/catalogue/users", "users")])
def test_a_list_says_while_it_loads_that_it_is_busy(open_page: Any, address: str, asked: str) -> None:
    """The list of users said nothing."""
    page = open_page("#/overview")
    held: list[Route] = []
    page.route(re.compile(rf"/api/v1/{asked}(\?|$)"), lambda route: held.append(route))
    page.evaluate(f"location.hash = {address!r}")
    expect(page.locator("main [aria-busy=true]")).to_have_count(1)
    deadline = time.monotonic() + 10
    while not held:
        assert time.monotonic() < deadline
        page.wait_for_timeout(10)
    held[0].continue_()
    expect(page.locator(ROWS).first).to_be_visible()
    expect(page.locator("main [aria-busy]")).to_have_count(0)


def test_what_a_list_does_not_know_has_no_column(open_page: Any, item: str) -> None:
    page = open_page(f"#/catalogue?query={item}")
    expect(page.locator(ROWS)).to_have_text([item])
    expect(page.locator("main thead th")).to_have_text(["Title"])


def test_the_page_of_an_item_shows_what_users_did(open_page: Any, api: httpx.Client) -> None:
    [found] = api.get("/api/v1/items", params={"query": "Star Wars", "limit": 1}).json()["items"]
    known = api.get(f"/api/v1/items/{found['item_id']}").json()
    page = open_page(f"#/catalogue/item/{found['item_id']}")
    expect(page.get_by_role("heading", name=found["title"])).to_be_visible()
    expect(page.locator("tr", has_text="rating").locator("td")).to_have_text(f"{known['events']['rating']:,}")
    similar = api.get(f"/api/v1/items/{found['item_id']}/similar?limit=10").json()["items"]
    names = page.locator("table", has_text="Cosine").locator("tbody th")
    expect(names).to_have_text([one["title"] for one in similar])
    names.first.get_by_role("link").click()
    expect(page.get_by_role("heading", name=similar[0]["title"], exact=True)).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", name=found["title"])).to_be_visible()


def test_an_item_is_added_changed_hidden_and_deleted(open_page: Any, api: httpx.Client) -> None:
    name = f"made/{uuid.uuid4().hex[:8]}"
    address = f"/api/v1/items/{name.replace('/', '%2F')}"
    page = open_page("#/catalogue", expected=("status of 422",))
    page.get_by_role("button", name="Add an item").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id", exact=True).fill(name)
    dialog.get_by_label("Title", exact=True).fill("<b>Made</b> by a test")
    dialog.get_by_label("Year", exact=True).fill("99999")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_label("Year", exact=True)).to_be_focused()
    beside = dialog.locator(".field", has_text="Year").get_by_role("alert")
    expect(beside).to_contain_text("less than or equal to 5000")
    assert api.get(address).status_code == 404
    dialog.get_by_label("Year", exact=True).fill("1999")
    dialog.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="<b>Made</b> by a test")).to_be_visible()

    page.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Categories").fill("War\nNew, with a comma")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator(".badge.accent")).to_have_text(["War", "New, with a comma"])
    changed = api.get(address).json()
    assert (changed["year"], changed["categories"]) == (1999, ["War", "New, with a comma"])

    page.get_by_role("button", name="Hide").click()
    expect(page.get_by_text("hidden", exact=True)).to_be_visible()
    assert api.get(address).json()["hidden"] is True
    page.get_by_role("button", name="Unhide").click()
    expect(page.get_by_role("button", name="Hide", exact=True)).to_be_visible()
    assert api.get(address).json() | {"updated_at": 0} == changed | {"updated_at": 0}, "all else stays as it was"

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    assert api.get(address).is_success
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Items", exact=True)).to_be_visible()
    assert api.get(address).status_code == 404


def test_a_user_is_found_and_what_the_user_gets_is_only_looked_at(open_page: Any, api: httpx.Client) -> None:
    user = f"looked-at-{uuid.uuid4().hex[:8]}"
    event = {"user_id": user, "item_id": 50, "event_type": "like", "context": {"simulated": True}}
    api.post("/api/v1/events", json=event).raise_for_status()
    page = open_page("#/catalogue/users")
    page.get_by_label("Find", exact=True).fill("looked-at-")
    expect(page.locator(ROWS)).to_have_text([user])
    page.locator(ROWS).first.get_by_role("link").click()
    expect(page.get_by_role("heading", name=f"User {user}")).to_be_focused()
    known = api.get(f"/api/v1/users/{user}").json()
    expect(page.locator(".history .title").first).to_have_text(known["history"][0]["title"])
    strongest = next(iter(known["affinities"]))
    expect(page.locator("section:has(h2:text-is('Tastes')) dt").first).to_have_text(strongest)
    body = {"user_id": user, "preview": True}
    listed = [one["title"] for one in api.post("/api/v1/recommend", json=body).json()["recommendations"]]
    expect(page.locator(".items > li .title")).to_have_text(listed)
    expect(page.get_by_text("Because of").first).to_be_visible()
    assert api.get(f"/api/v1/users/{user}/export").json()["exposures"] == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("item/no-such%2Fitem", "The catalogue lists no item no-such/item."),
        ("user/no-such-user", "Nothing is known of this user yet."),
        ("nonsense", "There is no such page in the catalogue."),
    ],
)
def test_what_is_not_there_is_said(open_page: Any, place: str, text: str) -> None:
    page: Page = open_page(f"#/catalogue/{place}")
    expect(page.get_by_text(text)).to_be_visible()

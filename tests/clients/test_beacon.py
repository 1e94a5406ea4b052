"""The beacon in a real Chromium, in pages of a shop on another origin than the API."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from raycommend_client import Client

from tests.clients.conftest import Guarded
from tests.clients.faulty import batch_answer
from tests.clients.shop import TYPESCRIPT, Shop
from tests.console.conftest import browser, wait_until
from tests.waiting import wait_for

__all__ = ["browser"]
ITEM = '<li data-raycommend-item="{item}" style="height: 60px"><a href="/next.html?{item}">{item}</a></li>'


class InShop:
    """A browser in the shop, and what has reached the API."""

    def __init__(self, context: BrowserContext, shop: Shop, guarded: Guarded, user: str) -> None:
        self.context, self.shop, self.guarded, self.user = context, shop, guarded, user
        self.complaints: list[str] = []
        guarded.api.faults.reset()

    def page(self, body: str, **options: Any) -> Page:
        """A page with a beacon named `beacon`, which counts what is lost in `lost`."""
        given = {"userId": self.user, "apiKey": self.guarded.shop_key, "flushEveryMs": 100, "seenMs": 50, **options}
        self.shop.pages["/"] = f"""<!doctype html><title>Shop</title>{body}<script type="module">
            import {{ Beacon }} from "./dist/index.js";
            window.lost = [];
            const onLost = (events, reason) => lost.push([events.map((event) => event.event_type), reason]);
            window.beacon = new Beacon("{self.guarded.api.url}", {{ ...{json.dumps(given)}, onLost }});
            beacon.watch();
        </script>"""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.shop.origin}/")
        wait_until(page, "window.beacon !== undefined")
        return page

    def sent(self) -> list[dict[str, Any]]:
        """Events of all batches that arrived, in the order of their arrival."""
        seen = [request for request in self.guarded.api.faults.seen if request.path == "/api/v1/events/batch"]
        return [event for request in seen for event in request.body["events"]]

    def counted(self) -> dict[str, int]:
        self.guarded.api.faults.coming.clear()
        with Client(self.guarded.api.url, api_key=self.guarded.admin_key) as operator:
            return operator.user(self.user).events


@pytest.fixture
def in_shop(browser: Browser, shop: Shop, guarded: Guarded, user: str) -> Iterator[InShop]:
    context = browser.new_context(viewport={"width": 800, "height": 300})
    found = InShop(context, shop, guarded, user)
    yield found
    context.close()
    assert found.complaints == []


def until_idle(page: Page) -> None:
    wait_until(page, "beacon.waiting === 0")


def items(*names: int) -> str:
    return f'<ul data-raycommend-list="list-1">{"".join(ITEM.format(item=name) for name in names)}</ul>'


def test_what_is_seen_is_sent_once_with_its_list_and_what_is_below_the_fold_is_not(in_shop: InShop) -> None:
    page = in_shop.page(items(1, 2) + '<div style="height: 3000px"></div>' + items(3))
    wait_for(lambda: len(in_shop.sent()) >= 2)
    assert [(event["item_id"], event["event_type"]) for event in in_shop.sent()] == [("1", "view"), ("2", "view")]
    assert {event["recommendation_id"] for event in in_shop.sent()} == {"list-1"}
    page.evaluate("beacon.watch()")
    page.evaluate("scrollTo(0, 5000)")
    wait_for(lambda: len(in_shop.sent()) == 3)
    page.evaluate("scrollTo(0, 0)")
    page.evaluate("document.querySelector('ul').append(document.querySelector('ul').lastElementChild)")
    page.evaluate("beacon.track(1, 'like')")
    until_idle(page)
    assert [event["item_id"] for event in in_shop.sent()] == ["1", "2", "3", 1]
    assert in_shop.counted() == {"view": 3, "like": 1}


def test_a_click_that_leaves_the_page_arrives(in_shop: InShop) -> None:
    page = in_shop.page(items(7), flushEveryMs=3_600_000, impressionType=None)
    page.get_by_role("link", name="7").click()
    page.wait_for_url("**/next.html?7")
    wait_until(page, "document.title === 'Next'")
    wait_for(lambda: bool(in_shop.sent()))
    [event] = in_shop.sent()
    assert (event["item_id"], event["event_type"], event["recommendation_id"]) == ("7", "click", "list-1")
    assert "timestamp" not in event
    assert in_shop.counted() == {"click": 1}


@pytest.mark.parametrize("fault", [{"lose": True}, {"status": 503, "retry_after": "0"}, {"status": 500}])
def test_what_goes_wrong_is_sent_again_and_counts_once(in_shop: InShop, fault: dict[str, Any]) -> None:
    page = in_shop.page("")
    in_shop.guarded.api.faults.reset(fault)
    page.evaluate("beacon.track(5, 'add_to_cart')")
    until_idle(page)
    assert len(in_shop.sent()) == 2
    assert len({event["event_id"] for event in in_shop.sent()}) == 1
    assert in_shop.counted() == {"add_to_cart": 1}


def test_events_of_a_batch_that_the_server_asks_to_send_again_are_kept(in_shop: InShop) -> None:
    page = in_shop.page("")
    in_shop.guarded.api.faults.reset(batch_answer(None, "store_busy", "invalid_field"))
    page.evaluate("for (const item of [1, 2, 3]) beacon.track(item, 'click')")
    until_idle(page)
    assert [event["item_id"] for event in in_shop.sent()] == [1, 2, 3, 2]
    assert page.evaluate("lost") == [[["click"], "a fault of the test"]]


def test_a_batch_that_is_too_large_is_halved(in_shop: InShop) -> None:
    page = in_shop.page("")
    in_shop.guarded.api.faults.reset(*[{"status": 413, "code": "body_too_large"}] * 3)
    page.evaluate("for (const item of [1, 2, 3, 4]) beacon.track(item, 'click')")
    until_idle(page)
    requests = [request for request in in_shop.guarded.api.faults.seen if request.method == "POST"]
    assert [len(request.body["events"]) for request in requests] == [4, 2, 1, 3]
    assert [types for types, _ in page.evaluate("lost")] == [["click"]]
    assert in_shop.counted() == {"click": 3}


def test_a_wait_that_the_server_asks_for_is_kept(in_shop: InShop) -> None:
    page = in_shop.page("")
    in_shop.guarded.api.faults.reset({"status": 429, "retry_after": "1"})
    page.evaluate("beacon.track(5, 'click')")
    until_idle(page)
    first, second = (request for request in in_shop.guarded.api.faults.seen if request.method == "POST")
    assert second.at_s - first.at_s >= 1


def test_what_one_page_could_not_send_the_next_one_sends_and_it_counts_once(in_shop: InShop) -> None:
    page = in_shop.page("", flushEveryMs=50)
    # The answer is lost: the event is done, and neither page knows of it.
    in_shop.guarded.api.faults.reset({"lose": True}, *[{"status": 503, "retry_after": "30"}] * 3)
    page.evaluate("beacon.track(5, 'like'); beacon.track(6, 'like')")
    wait_for(lambda: len(in_shop.sent()) >= 2)
    page.close()
    in_shop.guarded.api.faults.coming.clear()
    later = in_shop.page("")
    until_idle(later)
    assert in_shop.counted() == {"like": 2}
    ids = [event["event_id"] for event in in_shop.sent()]
    assert len(set(ids)) == 2 < len(ids)
    assert later.evaluate("Object.keys(localStorage)") == []


def test_what_will_not_be_sent_is_told(in_shop: InShop) -> None:
    page = in_shop.page("", maxEvents=2, flushEveryMs=3_600_000)
    page.evaluate("beacon.track(1, 'click'); beacon.track(1, 'clack'); beacon.track(1, 'like')")
    assert page.evaluate("lost") == [[["like"], "2 events wait already"]]
    assert page.evaluate("beacon.flush()") == 0
    [_, [types, reason]] = page.evaluate("lost")
    assert types == ["clack"]
    assert "unknown type 'clack'" in reason
    assert in_shop.counted() == {"click": 1}


def test_an_event_of_an_earlier_page_that_is_too_old_is_told_and_not_sent(in_shop: InShop) -> None:
    page = in_shop.page("")
    left = [{"event": {"user_id": "u", "item_id": 1, "event_type": "click", "event_id": f"e{age}"}, "age": age}
            for age in (1, 24)]  # fmt: skip
    page.evaluate(
        """left => localStorage.setItem("raycommend-events:other",
            JSON.stringify(left.map(({event, age}) => ({event, at: Date.now() - age * 3600000}))))""",
        left,
    )
    page.evaluate("localStorage.setItem('raycommend-events:broken', '{')")
    later = in_shop.page("")
    until_idle(later)
    assert [event["event_id"] for event in in_shop.sent()] == ["e1"]
    assert in_shop.sent()[0]["timestamp"] > 1_700_000_000_000, "what is late says when it happened"
    assert [types for types, _ in later.evaluate("lost")] == [["click"]]


def test_a_browser_whose_clock_is_wrong_loses_no_event(in_shop: InShop) -> None:
    page = in_shop.page("", flushEveryMs=3_600_000)
    page.evaluate("{ const now = Date.now; window.ahead = 864e5; Date.now = () => now() + ahead; }")
    page.evaluate("beacon.track(1, 'click'); ahead += 60000")  # too late to be sent without a time
    assert page.evaluate("beacon.flush()") == 0
    assert ["timestamp" in event for event in in_shop.sent()] == [True, False]
    assert page.evaluate("lost") == []
    assert in_shop.counted() == {"click": 1}


def test_a_wrong_option_is_named(in_shop: InShop) -> None:
    page = in_shop.page("")
    for option, value in (("userId", ""), ("flushEveryMs", 0), ("seenShare", 2), ("maxEvents", -1)):
        words = page.evaluate(
            """async ([option, value]) => {
                const { Beacon } = await import("./dist/index.js");
                const options = { userId: 1, [option]: value };
                try { new Beacon("http://127.0.0.1:1", options); } catch (error) { return error.message; }
            }""",
            [option, value],
        )
        assert words.startswith(f"422 invalid_field: {option}: ")


def kinds(in_shop: InShop) -> list[str]:
    return [event["event_type"] for event in in_shop.sent() if event["event_type"] != "view"]


def test_the_page_of_the_shop_shows_a_list_and_tells_what_is_clicked(in_shop: InShop) -> None:
    text = (TYPESCRIPT / "shop.html").read_text()
    changes = {
        '"http://127.0.0.1:8000"': json.dumps(in_shop.guarded.api.url),
        "ACCESS = {}": f"ACCESS = {json.dumps({'apiKey': in_shop.guarded.shop_key})}",
        'USER = "ada"': f"USER = {json.dumps(in_shop.user)}",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    in_shop.shop.pages["/shop.html"] = text
    page = in_shop.context.new_page()
    page.on("console", lambda message: in_shop.complaints.append(message.text) if message.type == "error" else None)
    page.goto(f"{in_shop.shop.origin}/shop.html")
    page.get_by_role("button", name="Add to cart").first.click()
    page.get_by_text("is in your cart.").wait_for()
    assert page.get_by_role("listitem").count() == 8
    page.get_by_role("link").first.click()
    page.wait_for_url("**/product.html?item=*")
    # The button stands in the item's element, so that a click on it is one on the item as well.
    wait_for(lambda: sorted(kinds(in_shop)) == ["add_to_cart", "click", "click"])

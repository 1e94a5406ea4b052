"""The data page: what was imported and refused, and what comes in now."""

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.stack
TAIL = "section:has(h2:text-is('Events as they come in'))"

ARRIVAL = """[...document.querySelectorAll("dt")].find((one) => one.textContent === "Last event came in")
  ?.nextElementSibling.querySelector("time")"""


def test_the_data_set_is_the_apis(open_page: Any, api: httpx.Client) -> None:
    known = api.get("/api/v1/data").json()
    page = open_page("#/data")
    card = page.locator("section", has=page.get_by_role("heading", name="Data set", exact=True))
    for text in (known["data_set"]["name"], known["data_set"]["source"], f"{known['data_set']['n_interactions']:,}"):
        expect(card).to_contain_text(text)
    expect(card).to_contain_text(known["data_set"]["fingerprint"][:16])
    expect(card).to_contain_text(f"rating {known['event_types']['rating']:,}")
    expect(page.get_by_role("heading", name="Map", exact=True)).to_be_hidden()
    kept = page.locator("table", has_text="Budget")
    expect(kept.locator("tbody th", has_text="streams")).to_be_visible()


def test_events_are_shown_as_they_come_in_until_a_person_pauses(open_page: Any, api: httpx.Client, until: Any) -> None:
    page = open_page("#/data")
    first, second = (f"tail/{uuid.uuid4().hex[:8]}" for _ in range(2))

    def send(user: str) -> None:
        event = {"user_id": user, "item_id": 1, "event_type": "view", "context": {"simulated": True}}
        api.post("/api/v1/events", json=event).raise_for_status()

    send(first)
    row = page.locator(f"{TAIL} tbody tr", has_text=first)
    expect(row).to_contain_text("view")
    expect(row).to_contain_text("simulated")
    [arrived] = [one for one in api.get("/api/v1/data/events?limit=100").json()["events"] if one["user_id"] == first]
    until(page, f"Number({ARRIVAL}?.dataset.ms) >= Date.parse('{arrived['received']}')")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    send(second)
    with page.expect_response("**/api/v1/data"):  # the page goes on, and only the tail rests
        pass
    expect(page.locator(TAIL)).not_to_contain_text(second)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(f"{TAIL} tbody tr", has_text=second)).to_be_visible()
    page.get_by_role("link", name=second).click()
    expect(page.get_by_role("heading", name=f"User {second}")).to_be_visible()


def test_refused_rows_of_an_import_are_named_with_their_report(open_page: Any, stack: Any, tmp_path: Path) -> None:
    file = tmp_path / f"orders-{uuid.uuid4().hex[:8]}.csv"
    file.write_text("user_id,item_id,event_type,timestamp\nada,1,view,2024-05-01T10:00:00Z\nbob,1,view,yesterday\n")
    stack.run(["python", "-m", "jobs.import_events", str(file)])
    [report] = (stack.settings.state_dir / "imports").glob(f"{file.stem}-*-refused.jsonl")
    [refused] = [json.loads(line) for line in report.read_text().splitlines()]
    page = open_page("#/data")
    row = page.locator("tr", has_text=file.stem)
    expect(row).to_contain_text("finished")
    expect(row.locator("td.numeric")).to_have_text(["2", "1", "1"])  # and no column of duplicates, of which none are
    page.locator("summary", has_text=file.stem).click()
    details = page.locator("details", has_text=file.stem)
    expect(details.locator("tbody tr")).to_have_count(1)
    expect(details).to_contain_text(refused["reason"])
    expect(details).to_contain_text(str(report))

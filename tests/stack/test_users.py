"""What is kept of a user can be seen, taken away and erased, on a running stack."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def api(stack: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client


def recommend(api: httpx.Client, user_id: int | str) -> dict[str, Any]:
    answer = api.post("/api/v1/recommend", json={"user_id": user_id})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_an_export_holds_history_events_and_exposures(api: httpx.Client) -> None:
    shown = recommend(api, "exporter")
    event = {
        "user_id": "exporter",
        "item_id": shown["recommendations"][0]["item_id"],
        "event_type": "rating",
        "rating": 4.5,
        "recommendation_id": shown["recommendation_id"],
        "context": {"device": "phone"},
    }
    assert api.post("/api/v1/events", json=event).status_code == 200
    export = api.get("/api/v1/users/exporter/export").json()
    assert [entry["value"] for entry in export["history"]] == [4.5]
    [recorded] = export["events"]
    assert recorded["recommendation_id"] == shown["recommendation_id"]
    assert recorded["context"] == {"device": "phone"}
    [exposure] = export["exposures"]
    assert exposure["recommendation_id"] == shown["recommendation_id"]
    assert exposure["model_version"] == shown["model_version"]
    assert [entry["item_id"] for entry in shown["recommendations"]] == exposure["item_ids"]
    assert api.get("/api/v1/users/nobody/export").status_code == 404


def test_ids_are_read_back_as_they_were_written(api: httpx.Client) -> None:
    """Through the proxy: with a slash, which an address would take for another page, and with many digits."""
    for user in ("x/export", "a/b", 9_007_199_254_740_993):
        for item in ("a/similar", "1610521604143693813"):
            event = {"user_id": user, "item_id": item, "event_type": "view"}
            assert api.post("/api/v1/events", json=event).status_code == 200
        assert recommend(api, user)["user_id"] == str(user)
        found = api.get(f"/api/v1/users/{quote(str(user), safe='')}").json()
        assert found["user_id"] == str(user)
        assert {entry["item_id"] for entry in found["history"]} == {"a/similar", "1610521604143693813"}


def test_an_erased_user_is_a_stranger_everywhere(api: httpx.Client, stack: Any) -> None:
    """User 300 was trained on; events in the log (after a compaction) and in the stream go too."""
    for item in (50, 172):
        api.post("/api/v1/events", json={"user_id": 300, "item_id": item, "event_type": "like"})
    stack.run(["python", "-m", "jobs.compact"])
    api.post("/api/v1/events", json={"user_id": 300, "item_id": 181, "event_type": "like"})
    assert not recommend(api, 300)["cold_start"]
    assert len(api.get("/api/v1/users/300/export").json()["events"]) == 3

    erased = api.delete("/api/v1/users/300")
    assert erased.status_code == 200, erased.text
    assert erased.json()["status"] == "erased"
    assert erased.json()["log_rows"] >= 2
    assert api.get("/api/v1/users/300").status_code == 404
    assert api.get("/api/v1/users/300/export").status_code == 404
    deadline = time.monotonic() + 2
    while not recommend(api, 300)["cold_start"]:
        assert time.monotonic() < deadline, "the trained vector of an erased user is still used"
        time.sleep(0.05)
    api.delete("/api/v1/users/300")  # the exposures of the lines above
    assert api.get("/api/v1/users/300/export").status_code == 404


def test_an_item_shows_live_counts(api: httpx.Client) -> None:
    before = api.get("/api/v1/items/1400").json()
    for number in range(3):
        api.post("/api/v1/events", json={"user_id": f"counter-{number}", "item_id": 1400, "event_type": "click"})
    after = api.get("/api/v1/items/1400").json()
    assert after["events"].get("click", 0) - before["events"].get("click", 0) == 3
    assert after["popularity"]["1h"] > before["popularity"]["1h"]
    assert after["last_event"] > before["last_event"]


def test_exposures_are_counted(api: httpx.Client) -> None:
    top = recommend(api, 77)["recommendations"][0]["item_id"]
    before = api.get(f"/api/v1/items/{top}").json()["exposures"]
    recommend(api, 77)
    assert api.get(f"/api/v1/items/{top}").json()["exposures"] == before + 1

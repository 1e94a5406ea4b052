"""Metrics, retraining and the timeline over HTTP, on a running stack."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import RunningStack
from tests.waiting import wait_for

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client


def read(api: httpx.Client, path: str) -> dict[str, Any]:
    answer = api.get(path)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def settled(api: httpx.Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """Counts that stand still: what earlier requests made may still be on its way, in two reports of a second each."""
    deadline = time.monotonic() + 30
    known: list[Any] = []
    while True:
        system, dashboard = read(api, "/api/v1/metrics/system"), read(api, "/api/v1/metrics/dashboard")
        totals = {name: value for name, value in dashboard["learning"].items() if name.endswith("_total")}
        found = [totals, system["lists_total"], {name: one["total"] for name, one in system["requests"].items()}]
        if found == known:
            return system, dashboard
        known = found
        time.sleep(2.5)
        assert time.monotonic() < deadline, "the counts do not come to rest"


def test_requests_and_events_are_counted_exactly(api: httpx.Client) -> None:
    before = settled(api)
    for number in range(5):
        assert api.post("/api/v1/recommend", json={"user_id": f"m{number}", "top_k": 5}).status_code == 200
        event = {"user_id": f"m{number}", "item_id": 50, "event_type": "click", "event_id": uuid.uuid4().hex}
        assert api.post("/api/v1/events", json=event).status_code == 200
        assert api.post("/api/v1/events", json=event).json()["duplicate"]
    assert api.post("/api/v1/events", json={"user_id": 1, "item_id": 2, "event_type": "nod"}).status_code == 422

    def counted() -> bool:  # each replica reports by itself, once a second
        now, then = read(api, "/api/v1/metrics/system")["requests"], before[0]["requests"]
        return all(now[name]["total"] >= then[name]["total"] + n for name, n in (("events", 11), ("recommend", 5)))

    wait_for(counted)
    system, dashboard = settled(api)
    grown = {
        "lists": system["lists_total"] - before[0]["lists_total"],
        "recommend": system["requests"]["recommend"]["total"] - before[0]["requests"]["recommend"]["total"],
        "clicks": dashboard["learning"]["events_by_type"].get("click", 0)
        - before[1]["learning"]["events_by_type"].get("click", 0),
        "duplicates": dashboard["learning"]["duplicates_total"] - before[1]["learning"]["duplicates_total"],
        "refused": dashboard["learning"]["refused_total"] - before[1]["learning"]["refused_total"],
    }
    assert grown == {"lists": 5, "recommend": 5, "clicks": 5, "duplicates": 5, "refused": 1}
    assert system["replicas"] == {"ranking": 1, "ingestion": 1}
    timing = system["latency"]["total"]
    assert 0 < timing["p50_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
    assert system["streams"]["exposures"]["pending"] > 0


def test_autopilot_looks_and_says_what_it_waits_for(api: httpx.Client) -> None:
    wait_for(lambda: read(api, "/api/v1/metrics/model")["autopilot"]["looked_at"] is not None)
    found = read(api, "/api/v1/metrics/model")
    assert found["autopilot"]["mode"] == "observe"
    assert {view["name"] for view in found["drift"]} >= {"items", "categories", "event_types", "click_rate"}
    assert all(view["drifted"] is not True for view in found["drift"])


def test_lists_are_judged_by_what_followed(api: httpx.Client, stack: RunningStack) -> None:
    shown = api.post("/api/v1/recommend", json={"user_id": "judged", "top_k": 5}).json()
    taken = {"user_id": "judged", "item_id": shown["recommendations"][1]["item_id"], "event_type": "like"}
    assert api.post("/api/v1/events", json=taken).status_code == 200
    window = stack.settings.autopilot.attribution_s + 30

    def judged() -> bool:
        quality = read(api, "/api/v1/metrics/model")["quality"]
        return any(one["lists"] > 0 and one["click_rate"] and one["map_at_10"] for one in quality)

    wait_for(judged, window)


@pytest.mark.parametrize("path", ["/api/v1/mlops/jobs/none-such", "/api/v1/mlops/jobs/%2e%2e"])
def test_a_job_that_is_not_there(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_reason_must_be_a_text(api: httpx.Client) -> None:
    for body, field in (({"reason": ""}, "reason"), ({"reason": 5}, "reason"), ({"why": "x"}, "why")):
        answer = api.post("/api/v1/mlops/trigger-retrain", json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert api.get("/api/v1/mlops/timeline?limit=0").json()["error"]["field"] == "limit"

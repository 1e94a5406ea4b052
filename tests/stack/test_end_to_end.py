"""The whole loop over HTTP, on a stack started as `make up` starts it."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from data.dataset import load_dataset

pytestmark = pytest.mark.stack
# Of the further sources a training keeps those that help on its data.
PERSONAL = {"fold_in", "trending", "follows", "neighbour", "near"}


@pytest.fixture(scope="module")
def api(stack: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def seen(stack: Any) -> dict[str, set[int]]:
    """Items that each user of the data set has rated."""
    interactions = load_dataset(stack.settings.data_dir / "processed").interactions
    return {user: {int(item) for item in items} for user, items in interactions.groupby("user_id")["item_id"]}


def recommend(api: httpx.Client, user_id: int | str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/recommend", json={"user_id": user_id, **fields})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def send(api: httpx.Client, user_id: int | str, item_id: int | str, event_type: str, **fields: Any) -> dict[str, Any]:
    body = {"user_id": user_id, "item_id": item_id, "event_type": event_type, **fields}
    answer = api.post("/api/v1/events", json=body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def items(answer: dict[str, Any]) -> list[int]:
    return [entry["item_id"] for entry in answer["recommendations"]]


def test_a_known_user_gets_unseen_items_with_titles(api: httpx.Client, seen: dict[str, set[int]]) -> None:
    for user in (1, 196, 405):  # 405 rated 737 titles, more than the online history holds
        answer = recommend(api, user, top_k=20)
        assert len(items(answer)) == 20
        assert not set(items(answer)) & seen[str(user)]
        assert [entry["rank"] for entry in answer["recommendations"]] == list(range(1, 21))
        assert {entry["source"] for entry in answer["recommendations"]} <= PERSONAL
        assert all(entry["title"] for entry in answer["recommendations"])
        assert answer["model_version"]
        assert not answer["cold_start"]
        assert not answer["degraded"]


def test_seen_items_come_back_when_asked_for(api: httpx.Client, seen: dict[str, set[int]]) -> None:
    answer = recommend(api, 196, top_k=20, exclude_seen=False)
    assert set(items(answer)) & seen["196"]


def test_an_unknown_user_gets_a_full_labelled_list(api: httpx.Client) -> None:
    answer = recommend(api, "never seen before", top_k=100)
    assert answer["cold_start"]
    assert len(set(items(answer))) == 100
    assert {entry["source"] for entry in answer["recommendations"]} <= {"trending", "popular", "newest"}


def test_a_number_and_its_text_are_one_user(api: httpx.Client) -> None:
    assert items(recommend(api, 7)) == items(recommend(api, "7"))


def test_an_event_changes_the_very_next_recommendation_always(api: httpx.Client) -> None:
    for number in range(200):
        user = f"real-time-{number % 20}"
        before = recommend(api, user)
        liked = items(before)[number % 10]
        assert send(api, user, liked, "like")["next_recommendations_ready"]
        after = recommend(api, user)
        assert liked not in items(after), f"try {number}: the liked item came back"
        assert not after["cold_start"], f"try {number}: the event was not used"
        assert not after["cache_hit"]


def test_a_dislike_removes_the_item_and_is_no_interest(api: httpx.Client) -> None:
    first = items(recommend(api, "sceptic"))[0]
    send(api, "sceptic", first, "dislike")
    answer = recommend(api, "sceptic", exclude_seen=False, top_k=100)
    assert first not in items(answer)
    assert answer["cold_start"], "a dislike alone says nothing of what the user likes"


def test_an_unchanged_user_is_answered_from_the_cache_and_an_event_ends_that(api: httpx.Client) -> None:
    send(api, "returning", 50, "like")
    first = recommend(api, "returning")
    second = recommend(api, "returning")
    assert not first["cache_hit"]
    assert second["cache_hit"]
    assert items(second) == items(first)
    assert second["recommendation_id"] != first["recommendation_id"]
    send(api, "returning", 172, "like")
    assert not recommend(api, "returning")["cache_hit"]


def test_a_repeated_event_counts_once(api: httpx.Client) -> None:
    one = send(api, "repeater", 50, "click", event_id="e-1")
    again = send(api, "repeater", 50, "click", event_id="e-1")
    assert not one["duplicate"]
    assert again["duplicate"]
    assert {**again, "duplicate": False} == one
    history = api.get("/api/v1/users/repeater").json()["history"]
    assert len(history) == 1


def test_two_events_without_ids_are_two_events(api: httpx.Client) -> None:
    first, second = (send(api, "no-ids", 50, "click") for _ in range(2))
    assert first["event_id"] != second["event_id"]
    assert len(api.get("/api/v1/users/no-ids").json()["history"]) == 2


def test_a_client_that_repeats_its_request_id_and_body_repeats_the_event(api: httpx.Client) -> None:
    body = {"user_id": "request-ids", "item_id": 50, "event_type": "click"}
    sent = [api.post("/api/v1/events", json=body, headers={"x-request-id": "r-1"}).json() for _ in range(2)]
    assert [answer["duplicate"] for answer in sent] == [False, True]
    other = api.post("/api/v1/events", json={**body, "item_id": 51}, headers={"x-request-id": "r-1"}).json()
    assert not other["duplicate"]


BAD_EVENTS = [
    ({"event_type": "teleport"}, "event_type"),
    ({"rating": 9}, "rating"),
    ({"rating": None}, "rating"),
    ({"event_type": "click", "rating": 4}, "rating"),
    ({"event_type": "click", "rating": None, "value": 4}, "value"),
    ({"event_type": "watch", "rating": None}, "value"),
    ({"event_type": "watch", "rating": None, "value": -1}, "value"),
    ({"timestamp": "2199-01-01T00:00:00Z"}, "timestamp"),
    ({"timestamp": "yesterday"}, "timestamp"),
    ({"timestamp": -5}, "timestamp"),
    ({"user_id": ""}, "user_id"),
    ({"item_id": None}, "item_id"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("change", "field"), BAD_EVENTS, ids=lambda value: str(value)[:40])
def test_a_bad_event_is_refused_by_field_and_nothing_is_written(
    api: httpx.Client, change: dict[str, Any], field: str
) -> None:
    body = {"user_id": "victim", "item_id": 50, "event_type": "rating", "rating": 4, **change}
    answer = api.post("/api/v1/events", json={name: value for name, value in body.items() if value is not None})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["field"] == field
    assert api.get("/api/v1/users/victim").status_code == 404


def test_not_a_number_malformed_and_oversized_bodies(api: httpx.Client) -> None:
    head = {"content-type": "application/json"}
    text = '{"user_id": "victim", "item_id": 50, "event_type": "rating", "rating": NaN}'
    answer = api.post("/api/v1/events", content=text, headers=head)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "rating")
    for path in ("/api/v1/events", "/api/v1/events/batch", "/api/v1/recommend"):
        assert api.post(path, content="{", headers=head).status_code == 422
        large = api.post(path, content=b'{"user_id": "' + b"x" * 5_000_000 + b'"}', headers=head)
        assert large.status_code == 413
        assert large.json()["error"]["code"] == "body_too_large"
    assert api.get("/api/v1/users/victim").status_code == 404


def test_a_batch_accepts_and_refuses_by_index(api: httpx.Client) -> None:
    good = {"user_id": "batch", "item_id": 50, "event_type": "click", "event_id": "b-1"}
    rows = [good, {**good, "event_type": "teleport"}, good, {**good, "event_id": "b-2"}, 5]
    content = api.post("/api/v1/events/batch", json={"events": rows}).json()
    assert (content["accepted"], content["refused"]) == (3, 2)
    assert [row["status"] for row in content["results"]] == ["accepted", "refused", "accepted", "accepted", "refused"]
    assert content["results"][1]["error"]["field"] == "event_type"
    assert [content["results"][index]["duplicate"] for index in (0, 2, 3)] == [False, True, False]
    assert len(api.get("/api/v1/users/batch").json()["history"]) == 2


@pytest.mark.parametrize("rows", [[], [{}] * 1001, "x", None])
def test_a_batch_of_a_wrong_size_is_refused(api: httpx.Client, rows: Any) -> None:
    answer = api.post("/api/v1/events/batch", json={"events": rows})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "events"


def test_filters_hold_and_the_list_is_full(api: httpx.Client) -> None:
    answer = recommend(api, 196, top_k=20, filters={"include_categories": ["Horror"]})
    assert len(items(answer)) == 20
    assert all("Horror" in entry["genres"] for entry in answer["recommendations"])
    answer = recommend(api, 196, top_k=50, filters={"exclude_categories": ["Drama", "Comedy"]})
    assert not any({"Drama", "Comedy"} & set(entry["genres"]) for entry in answer["recommendations"])
    best = items(recommend(api, 196))
    answer = recommend(api, 196, filters={"exclude_items": best[:5]})
    assert len(items(answer)) == 10
    assert not set(items(answer)) & set(best[:5])


def test_users_and_items_can_be_looked_up(api: httpx.Client, seen: dict[str, set[int]]) -> None:
    item = api.get("/api/v1/items/50").json()
    assert (item["item_id"], item["title"], item["year"]) == (50, "Star Wars", 1977)
    assert "Sci-Fi" in item["genres"]
    user = api.get("/api/v1/users/196").json()
    assert {entry["item_id"] for entry in user["history"]} == seen["196"]
    for path in ("/api/v1/users/nobody", "/api/v1/items/nothing", "/api/v1/nowhere"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


def test_one_document_describes_every_endpoint(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    assert {
        "/api/v1/recommend", "/api/v1/events", "/api/v1/events/batch", "/health", "/health/live", "/health/ready",
        "/api/v1/users/{user_id}", "/api/v1/items/{item_id}",
    } <= set(document["paths"])  # fmt: skip
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert names <= set(document["components"]["schemas"])
    page = api.get("/docs").text
    assert not re.findall(r'(?:src|href)="https?://', page), "the page loads something from another host"
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets
    for asset in assets:
        assert api.get(asset).status_code == 200, asset


def test_health_names_each_component(api: httpx.Client) -> None:
    wanted = dict.fromkeys(("store", "model", "registry", "disk", "autopilot", "kept", "supervisor"), "ok")
    deadline = time.monotonic() + 120  # on a busy machine a look of autopilot takes its time
    while True:
        answer = api.get("/health")
        assert answer.status_code == 200
        components = answer.json()["components"]
        if {name: component["status"] for name, component in components.items()} == wanted:
            break
        assert time.monotonic() < deadline, components
        time.sleep(0.5)
    assert api.get("/health/live").status_code == 200
    assert api.get("/health/ready").status_code == 200

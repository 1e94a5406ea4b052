"""Items that come and go, and the shapes that a list can be asked for, on a running stack."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def api(stack: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=10) as client:
        yield client


def recommend(api: httpx.Client, user_id: int | str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/recommend", json={"user_id": user_id, **fields})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def items(answer: dict[str, Any]) -> list[int | str]:
    return [entry["item_id"] for entry in answer["recommendations"]]


def shown_within_a_second(api: httpx.Client, item_id: str, expected: bool, **fields: Any) -> None:
    """Every answer from one second after the change on must show the item, or none must."""
    changed = time.monotonic()
    while time.monotonic() - changed < 1.0:
        if (item_id in items(recommend(api, "browser", **fields))) == expected:
            break
        time.sleep(0.02)
    for _ in range(20):
        assert (item_id in items(recommend(api, "browser", **fields))) == expected


def test_a_new_item_is_recommended_at_once_and_a_hidden_or_deleted_one_never(api: httpx.Client) -> None:
    path = "/api/v1/items/brand-new"
    asked = {"filters": {"include_categories": ["Opera"]}}
    created = api.put(path, json={"title": "A Night There", "year": 2026, "genres": ["Opera"]})
    assert created.status_code == 200, created.text
    assert created.json()["title"] == "A Night There"
    shown_within_a_second(api, "brand-new", True, **asked)
    entry = recommend(api, "browser", **asked)["recommendations"][0]
    assert (entry["title"], entry["source"]) == ("A Night There", "newest")

    api.put(path, json={"title": "A Night There", "genres": ["Opera"], "hidden": True})
    shown_within_a_second(api, "brand-new", False, **asked)
    api.put(path, json={"title": "A Night There", "genres": ["Opera"]})
    shown_within_a_second(api, "brand-new", True, **asked)
    assert api.delete(path).json() == {"status": "deleted"}
    shown_within_a_second(api, "brand-new", False, **asked)
    assert api.get(path).status_code == 404
    assert api.delete(path).status_code == 404


def test_a_trained_item_that_is_hidden_leaves_cached_lists_too(api: httpx.Client) -> None:
    first = items(recommend(api, 42))[0]
    deadline = time.monotonic() + 1
    while not recommend(api, 42)["cache_hit"]:
        assert time.monotonic() < deadline, "the list is never kept"
    original = api.get(f"/api/v1/items/{first}").json()
    body = {name: original[name] for name in ("title", "year", "genres")}
    try:
        api.put(f"/api/v1/items/{first}", json={**body, "hidden": True})
        deadline = time.monotonic() + 1
        while first in items(recommend(api, 42)):
            assert time.monotonic() < deadline, "still shown after a second"
            time.sleep(0.02)
        for _ in range(20):
            assert first not in items(recommend(api, 42))
    finally:
        api.put(f"/api/v1/items/{first}", json=body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x", "genres": "Drama"}, "genres"),
        ({"title": "x", "genres": [""]}, "genres"),
        ({"title": "x", "genres": ["y" * 61]}, "genres"),
        ({"title": "x", "year": "1999"}, "year"),
        ({"title": "x", "colour": "red"}, "colour"),
    ],
)
def test_a_bad_item_is_refused_by_field(api: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = api.put("/api/v1/items/bad-item", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["field"] == field
    assert api.get("/api/v1/items/bad-item").status_code == 404


def test_explanations_name_the_users_own_items_and_shares(api: httpx.Client) -> None:
    history = {entry["item_id"] for entry in api.get("/api/v1/users/196").json()["history"]}
    explained = recommend(api, 196, explain=True)["recommendations"]
    assert len(explained) == 10
    for entry in explained:
        assert 1 <= len(entry["reason"]) <= 3
        assert {reason["item_id"] for reason in entry["reason"]} <= history
        shares = [reason["share"] for reason in entry["reason"]]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1
        assert all(reason["title"] for reason in entry["reason"])
    assert all(entry.get("reason") is None for entry in recommend(api, 196)["recommendations"])


def test_diversity_lowers_the_likeness_within_the_list(api: httpx.Client) -> None:
    def likeness(diversity: float) -> float:
        """Mean share of common genres over all pairs of a list, over forty users."""
        shares = []
        for user in range(1, 41):
            shown = recommend(api, user, diversity=diversity)["recommendations"]
            genres = [set(entry["genres"]) for entry in shown if entry["genres"]]
            shares += [len(a & b) / len(a | b) for a, b in itertools.combinations(genres, 2)]
        return sum(shares) / len(shares)

    assert items(recommend(api, 5, diversity=0.0)) == items(recommend(api, 5))
    assert likeness(0.9) < likeness(0.0) - 0.02


def test_similar_items(api: httpx.Client) -> None:
    content = api.get("/api/v1/items/50/similar", params={"limit": 5}).json()
    assert len(content["items"]) == 5
    assert 50 not in [entry["item_id"] for entry in content["items"]]
    assert {entry["title"] for entry in content["items"]} & {"Return of the Jedi", "The Empire Strikes Back"}
    cosines = [entry["similarity"] for entry in content["items"]]
    assert cosines == sorted(cosines, reverse=True)
    assert api.get("/api/v1/items/nothing/similar").status_code == 404
    assert api.get("/api/v1/items/50/similar", params={"limit": 0}).status_code == 422


def test_trending_follows_events(api: httpx.Client) -> None:
    for number in range(30):
        event = {"user_id": f"crowd-{number}", "item_id": 1500, "event_type": "like"}
        assert api.post("/api/v1/events", json=event).status_code == 200
    content = api.get("/api/v1/trending", params={"window": "1h", "limit": 3}).json()
    assert content["items"][0]["item_id"] == 1500
    assert api.get("/api/v1/trending", params={"window": "2h"}).status_code == 422
    deadline = time.monotonic() + 3
    while 1500 not in items(recommend(api, "a stranger", top_k=5)):
        assert time.monotonic() < deadline, "a cold start does not follow the trend"
        time.sleep(0.05)
    horror = api.get("/api/v1/trending", params={"category": "Horror"}).json()
    assert all("Horror" in entry["genres"] for entry in horror["items"])

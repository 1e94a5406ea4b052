"""The peer that does the same work really does it: it would be a poor floor otherwise."""

import httpx
import psutil
import pytest

from benchmarks.serving import Server


@pytest.mark.matrix
def test_an_event_changes_its_next_list_and_nothing_that_was_seen_comes_back() -> None:
    server = Server("benchmarks.peers.same_work")
    with server as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        [store] = psutil.Process(server._process.pid).children()

        def ask(**body: object) -> dict:
            return client.post("/api/v1/recommend", json={"user_id": 5, **body}).raise_for_status().json()

        first, again = ask(), ask()
        items = [one["item_id"] for one in first["recommendations"]]
        assert (len(set(items)), first["cache_hit"], again["cache_hit"]) == (10, False, True)
        event = {"user_id": 5, "item_id": items[0], "event_type": "view", "event_id": "once"}
        answers = [client.post("/api/v1/events", json=event).raise_for_status().json() for _ in range(2)]
        assert [answer["duplicate"] for answer in answers] == [False, True]
        after = ask(filters={"exclude_items": [items[1]]})
        assert not after["cache_hit"]
        assert {items[0], items[1]}.isdisjoint(one["item_id"] for one in after["recommendations"])
    assert not store.is_running()  # the peer ends with its store

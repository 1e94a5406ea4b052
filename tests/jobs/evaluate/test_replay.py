"""Against a small server that speaks the two endpoints: what is driven, measured and resumed."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pandas as pd
import pytest

from configs.settings import Settings
from data.dataset import DataError, Tables, load_dataset, processed_dir
from data.dataset_writer import write_dataset
from jobs.evaluate.replay import Step, gain, read_records, replay, steps, summary, write_training_part
from tests.jobs.job_data import two_tastes, write_interactions


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[str, dict]] = []
        self.fail_after: int | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.calls.append((self.path, body))
        failing = self.server.fail_after is not None and len(self.server.calls) > self.server.fail_after
        answer = {
            "recommendations": [{"item_id": 7}, {"item_id": 8}],
            "recommendation_id": "r",
            "model_version": "v",
            "degraded": False,
            "latency_ms": 1.0,
        }
        text = json.dumps(answer).encode()
        self.send_response(400 if failing else 200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def drive(server: Server, todo: list[Step], out: Path) -> None:
    async def run() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            await replay(client, todo, out, 4, lambda finished: None)

    asyncio.run(run())


STEPS = [Step(n, str(n % 3), str(5 + n % 5), "rating", 4.0, 1000 * n, n != 4) for n in range(12)]


def test_each_user_in_order_asked_before_told(server: Server, tmp_path: Path) -> None:
    drive(server, STEPS, tmp_path / "out.jsonl")
    for user in "012":
        mine = [(path.rsplit("/", 1)[-1], body) for path, body in server.calls if body["user_id"] == user]
        assert [path for path, _ in mine] == ["recommend", "events"] * 4
        told = [body["timestamp"] for path, body in mine if path == "events"]
        assert told == sorted(told)
    records = read_records(tmp_path / "out.jsonl")
    assert {record["number"]: record["rank"] for record in records} == {
        step.number: {"7": 1, "8": 2}.get(step.item_id, 0) for step in STEPS
    }


def test_what_is_told_is_what_happened(server: Server, tmp_path: Path) -> None:
    """Every event was told as a rating, also a purchase without a value."""
    todo = [Step(0, "ann", "7", "purchase", 12.5, 1000, True), Step(1, "ann", "8", "view", None, 2000, True)]
    drive(server, todo, tmp_path / "out.jsonl")
    told = [body for path, body in server.calls if path.endswith("/events")]
    assert [(body["event_type"], body.get("value")) for body in told] == [("purchase", 12.5), ("view", None)]
    assert not any("rating" in body for body in told)


def test_the_training_part_keeps_what_is_known_of_items_and_the_preset(settings: Settings, tmp_path: Path) -> None:
    """The attributes and the preset were lost on the way."""
    frame = pd.DataFrame(
        [(f"u{n % 3}", f"i{n % 4}", "purchase", None, n) for n in range(20)],
        columns=["user_id", "item_id", "event_type", "value", "timestamp_ms"],
    )
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(4)], "price": [1.0, 2.0, 3.0, None]})
    items = items.assign(title=items["item_id"], year=None, categories=[[] for _ in range(4)], added_ms=None)
    users = pd.DataFrame({"user_id": ["u0", "u1", "u2"], "city": ["Ulm", None, "Bonn"]})
    described = Tables(frame, items, users, item_attributes={"price": "number"}, user_attributes={"city": "keyword"})
    write_dataset(processed_dir(settings), described, "shop", "a test", "0" * 64, ("str", "str"), "groceries")
    whole = load_dataset(processed_dir(settings))
    assert [(step.event_type, step.value) for step in steps(whole)] == [("purchase", None)] * 4
    write_training_part(whole, tmp_path / "first")
    first = load_dataset(tmp_path / "first" / "processed")
    assert first.meta.preset == "groceries"
    assert first.items["price"].tolist()[:3] == [1.0, 2.0, 3.0]
    assert first.users["city"].fillna("").tolist() == ["Ulm", "", "Bonn"]
    untrusted = replace(whole, meta=whole.meta.model_copy(update={"time_trusted": False}))
    write_training_part(untrusted, tmp_path / "untrusted")
    assert not load_dataset(tmp_path / "untrusted" / "processed").meta.time_trusted
    with pytest.raises(DataError, match="there is nothing to replay"):
        steps(untrusted)


def test_it_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    server.fail_after = 9
    with pytest.raises(ExceptionGroup):
        drive(server, STEPS, out)
    before = len(read_records(out))
    assert 0 < before < 12
    with out.open("a") as file:
        file.write('{"number": 11, "us')  # a kill in the middle of a line
    server.fail_after, server.calls = None, []
    drive(server, STEPS, out)
    assert len(server.calls) == 2 * (12 - before)
    assert sorted(record["number"] for record in read_records(out)) == list(range(12))


def test_summary_counts_known_items_only(server: Server, tmp_path: Path) -> None:
    drive(server, STEPS, tmp_path / "out.jsonl")
    found = summary(read_records(tmp_path / "out.jsonl"))
    assert (found["events"], found["users"]) == (11, 3)
    hits = sum(step.item_id in ("7", "8") and step.counted for step in STEPS)
    assert found["hr_at_10"]["mean"] == pytest.approx(hits / 11)
    assert found["hr_at_10"]["low"] <= found["hr_at_10"]["mean"] <= found["hr_at_10"]["high"]
    with pytest.raises(ValueError, match="no event was counted"):
        summary([])


def test_the_training_part_holds_nothing_of_the_replay(settings: Settings, tmp_path: Path) -> None:
    write_interactions(settings, two_tastes())
    whole = load_dataset(processed_dir(settings))
    n = len(whole.interactions)
    assert write_training_part(whole, tmp_path / "first", 1 - 50 / n) == n - 50
    first = load_dataset(tmp_path / "first" / "processed")
    todo = steps(whole, 1 - 50 / n)
    assert len(first.interactions) + len(todo) == n
    assert first.interactions["timestamp_ms"].max() <= min(step.time_ms for step in todo)
    had = set(zip(first.interactions["user_id"], first.interactions["item_id"], strict=True))
    assert not had & {(step.user_id, step.item_id) for step in todo}


def test_the_gain_over_another_replay_is_paired() -> None:
    def record(number: int, rank: int, counted: bool = True) -> dict:
        return {"number": number, "user_id": str(number % 2), "rank": rank, "counted": counted}

    one = [record(0, 1), record(1, 3), record(2, 0), record(3, 1), record(9, 1)]
    other = [record(0, 0), record(1, 9), record(2, 0), record(3, 0), record(4, 1), record(5, 1, False)]
    found = gain(one, other)
    assert (found["events"], found["mean"]) == (4, 0.5)
    assert found["low"] <= 0.5 <= found["high"]
    with pytest.raises(ValueError, match="no counted event in common"):
        gain(one, [record(5, 1, False)])

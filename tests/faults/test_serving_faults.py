"""Replicas that die, clients that hang up, models that change: under load, in the profile `production`."""

import asyncio
import json
import os
import select
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.local.serve_control import ServeControl
from features.redis.connection import connect
from features.redis.layout import keys_of
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from models.bundle.reading import list_bundles

pytestmark = [pytest.mark.stack, pytest.mark.destructive]
PAUSE_S = 0.02
REPLICATED = ("RankingDeployment", "Retrieval-champion", "IngestionDeployment", "ConsoleDeployment")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)


def replicas(stack: Any, deployment: str) -> list[int]:
    """Process ids of this stack's replicas of a deployment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is not ours to see
        is_replica = title.startswith("ray::ServeReplica:") and title.split(":")[-1].split(".")[0] == deployment
        if is_replica and str(stack.settings.state_dir).encode() in environment:
            found.append(int(entry.name))
    return found


def deploy_pairs(stack: Any, folder: Path, num_cpus: float = 0.1) -> None:
    """Deploy what the profile `production` says: two replicas of each function. With another `num_cpus` Serve replaces
    every replica, as an upgrade of the code does; otherwise it adds what is missing."""
    serving = stack.settings.serving.model_copy(update={"profile": "production"})
    control = ServeControl(stack.settings.model_copy(update={"serving": serving}), print)
    config = yaml.safe_load(control.rendered())
    for application in config["applications"]:
        for deployment in application["deployments"]:
            if deployment["name"] in REPLICATED:
                deployment["ray_actor_options"]["num_cpus"] = num_cpus
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config))
    stack.run(["serve", "deploy", str(path)])


def all_running(stack: Any) -> bool:
    return set(ServeControl(stack.settings, print).states().values()) == {"RUNNING"}


@pytest.fixture(scope="module")
def pair(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stack with two replicas of each function. They stay until it goes down: nothing comes after these tests."""
    deploy_pairs(stack, tmp_path_factory.mktemp("config"))
    wait_for(lambda: all(len(replicas(stack, name)) == 2 for name in REPLICATED) and all_running(stack), 120)
    return stack


class Load:
    """Clients that ask for lists, send events, or read pages, without a pause; each failure is remembered."""

    def __init__(self, url: str, clients: int = 6, events: bool = False, pages: bool = False) -> None:
        self._url = url
        self._events, self._pages = events, pages
        self._stop = threading.Event()
        self._pause_s = 0.0
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        self.failures: list[str] = []
        self.degraded = 0
        self.versions: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.slowest_s = 0.0

    def wait_for_replicas(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Until replicas have started. Meanwhile the clients pause between their requests: they would take the time of
        the cores that the starting replicas need."""
        self._pause_s = PAUSE_S
        wait_for(condition, seconds)
        self._pause_s = 0.0

    def _run(self, client: int) -> None:
        with httpx.Client(base_url=self._url, timeout=20) as http:
            number = 0
            while not self._stop.is_set():
                number += 1
                started = time.monotonic()
                try:
                    self._one(http, client, number)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    self.unknown[f"load-{client}"] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - started)
                self._stop.wait(self._pause_s)

    def _one(self, http: httpx.Client, client: int, number: int) -> None:
        if self._events:
            user = f"load-{client}"
            body = {"user_id": user, "item_id": number, "event_type": "click"}  # without an event_id
            answer = self._until_answered(http, body, {"x-request-id": f"{client}-{number}"})
            if answer.status_code == 200:
                self.acknowledged[user] += 1
            else:
                self.unknown[user] += 1
        elif self._pages:
            answer = http.get(f"/api/v1/items/{number % 1000 + 1}")
            self.versions["page"] += answer.status_code == 200
        else:
            user_id = (client * 997 + number * 31) % 943 + 1
            answer = http.post("/api/v1/recommend", json={"user_id": user_id})
            if answer.status_code == 200:
                content = answer.json()
                self.versions[content["model_version"]] += 1
                self.degraded += content["degraded"]
                if len(content["recommendations"]) != 10:
                    self.failures.append(answer.text)
        if answer.status_code != 200:
            self.failures.append(f"{answer.status_code} {answer.text}")

    def _until_answered(self, http: httpx.Client, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        """As a client does: again, under the same request id. For some seconds after replicas came or went, an open
        connection may still hang on the HAProxy before the reload, which knows no other replica to turn to."""
        for attempt in range(5):
            try:
                return http.post("/api/v1/events", json=body, headers=headers)
            except httpx.TransportError:
                if attempt == 4:
                    raise
        raise AssertionError("unreachable")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("deployment", ["Retrieval-champion", "RankingDeployment", "ConsoleDeployment"])
def test_no_request_fails_when_a_replica_is_killed(pair: Any, deployment: str) -> None:
    """Of the fourth kind, ingestion, the next test but one kills three."""
    before = set(replicas(pair, deployment))
    with Load(pair.url, pages=deployment == "ConsoleDeployment") as load:
        wait_for(lambda: load.versions.total() > 200)
        os.kill(before.pop(), signal.SIGKILL)
        asked = load.versions.total()
        wait_for(lambda: load.versions.total() > asked + 200)
        load.wait_for_replicas(lambda: len(set(replicas(pair, deployment)) - before) >= 1)
        asked = load.versions.total()
        wait_for(lambda: load.versions.total() > asked + 200)
    assert load.failures == []
    assert load.degraded == 0


def test_no_request_fails_while_a_retrieval_replica_hangs(pair: Any) -> None:
    """A stopped process takes calls and answers none; Serve finds it out only after half a minute."""
    wait_for(lambda: len(replicas(pair, "Retrieval-champion")) == 2)
    hung = replicas(pair, "Retrieval-champion")[0]
    with Load(pair.url) as load:
        wait_for(lambda: load.versions.total() > 200)
        os.kill(hung, signal.SIGSTOP)
        try:
            asked = load.versions.total()
            wait_for(lambda: load.versions.total() > asked + 500)
        finally:
            os.kill(hung, signal.SIGCONT)
    assert load.failures == []


def test_an_event_is_recorded_once_when_its_replica_is_killed_before_the_answer(pair: Any) -> None:
    """The proxy, or the client, sends it again to the other replica, which must know it: it carries no event_id."""
    rounds = 3
    with Load(pair.url, events=True) as load:
        for _ in range(rounds):
            load.wait_for_replicas(lambda: len(replicas(pair, "IngestionDeployment")) == 2)
            done = load.acknowledged.total()
            wait_for(lambda done=done: load.acknowledged.total() > done + 200)  # type: ignore[misc]
            os.kill(replicas(pair, "IngestionDeployment")[0], signal.SIGKILL)
    assert load.failures == []
    with httpx.Client(base_url=pair.url, timeout=20) as http:
        for user, acknowledged in load.acknowledged.items():
            recorded = http.get(f"/api/v1/users/{user}").json()["events"]["click"]
            assert recorded == acknowledged, user


def test_five_swaps_under_load_fail_no_request(pair: Any) -> None:
    paths = list_bundles(pair.settings.bundles_dir)
    if len(paths) < 2:
        job = ["python", "-m", "jobs.retrain", "--trials", "1", "--seed", "5", "--slot", "none"]
        pair.run(["python", "-m", "jobs.submit", "--wait", "--", *job])
        paths = list_bundles(pair.settings.bundles_dir)
    first, second = paths[-2:]

    async def point_at(path: Path) -> None:
        client = connect(pair.settings.store, pair.settings.store_url)
        await set_slot(client, keys_of(pair.settings.store), CHAMPION, path.name, str(path), "a swap under load")
        await client.aclose()

    with Load(pair.url) as load:
        for number in range(5):
            target = (first, second)[number % 2]
            asyncio.run(point_at(target))
            served = load.versions[target.name]
            wait_for(lambda target=target, served=served: load.versions[target.name] > served + 50)  # type: ignore[misc]
    assert load.failures == []
    assert load.degraded == 0
    assert {first.name, second.name} <= set(load.versions)  # and the one that served before, if it was another


def test_a_rolling_redeploy_fails_no_request(pair: Any, tmp_path: Path) -> None:
    before = {name: set(replicas(pair, name)) for name in REPLICATED}
    with Load(pair.url, clients=4) as load, Load(pair.url, clients=2, events=True) as events:
        wait_for(lambda: load.versions.total() > 50)
        deploy_pairs(pair, tmp_path, num_cpus=0.11)
        load.wait_for_replicas(lambda: not any(before[name] & set(replicas(pair, name)) for name in REPLICATED))
        asked = load.versions.total()
        wait_for(lambda: load.versions.total() > asked + 50)
    # Six replicas start at once. Where no core is left for the store meanwhile, lists come without features: degraded,
    # but they come.
    assert load.failures == []
    assert events.failures == []


def test_a_thousand_clients_that_hang_up_leave_the_replicas_serving(pair: Any) -> None:
    address = ("127.0.0.1", pair.settings.ports.http)
    for number in range(1000):
        body = json.dumps({"user_id": number % 943 + 1, "filters": {"exclude_items": [number]}}).encode()
        head = f"POST /api/v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(head + body)
            # A reset and not an orderly end, at another moment of the request each time.
            select.select([connection], [], [], number % 5 * 0.0005)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with httpx.Client(base_url=pair.url, timeout=10) as http:
        # What they began is finished, and until then there may be too much of it.
        deadline = time.monotonic() + 20
        while http.post("/api/v1/recommend", json={"user_id": 1}).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for user in range(1, 60):
            answer = http.post("/api/v1/recommend", json={"user_id": user})
            assert answer.status_code == 200, answer.text
            assert not answer.json()["degraded"]


def test_a_client_header_cannot_switch_the_deadline_off(pair: Any) -> None:
    """With the store's process stopped, an answer still comes within the deadline: degraded, or 503 and 504."""
    pid = json.loads((pair.settings.state_dir / "run" / "store.json").read_text())["pid"]
    headers = {"x-request-timeout-seconds": "0", "x-request-disconnect-disabled": "?1"}
    event = {"user_id": "late", "item_id": 1, "event_type": "click", "event_id": "late-1"}
    limit_s = pair.settings.serving.deadline_s + 1
    with pair.unwatched():
        os.kill(pid, signal.SIGSTOP)
        try:
            with httpx.Client(base_url=pair.url, timeout=20, headers=headers) as http:
                for _ in range(3):
                    started = time.monotonic()
                    refused = http.post("/api/v1/events", json=event)
                    assert time.monotonic() - started < limit_s
                    assert refused.status_code in (503, 504), refused.text
                    assert "retry-after" in refused.headers
                    started = time.monotonic()
                    answer = http.post("/api/v1/recommend", json={"user_id": 5})
                    assert time.monotonic() - started < limit_s
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["degraded"]
                    assert len(answer.json()["recommendations"]) == 10
                health = http.get("/health")
                assert health.status_code == 503
                assert health.json()["components"]["store"]["status"] == "down"
        finally:
            os.kill(pid, signal.SIGCONT)
    with httpx.Client(base_url=pair.url, timeout=20) as http:

        def recovered() -> bool:
            answer = http.post("/api/v1/recommend", json={"user_id": 5})
            return answer.status_code == 200 and not answer.json()["degraded"]

        wait_for(recovered, 20)
        assert http.post("/api/v1/events", json=event).status_code == 200
        assert http.get("/api/v1/users/late").json()["events"] == {"click": 1}

"""Replicas that die, clients that hang up, models that change: under load, in the profile `production`."""

import asyncio
import json
import os
import select
import signal
import socket
import time
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
from tests.load import Load, events, items, lists, user_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.destructive, pytest.mark.faults]
REPLICATED = ("RankingDeployment", "Retrieval-champion", "IngestionDeployment", "ConsoleDeployment")


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


@pytest.mark.parametrize("deployment", ["Retrieval-champion", "RankingDeployment", "ConsoleDeployment"])
def test_no_request_fails_when_a_replica_is_killed(pair: Any, deployment: str) -> None:
    """Of the fourth kind, ingestion, the next test but one kills three."""
    before = set(replicas(pair, deployment))
    with Load(pair.url, items if deployment == "ConsoleDeployment" else lists) as load:
        load.goes_on(200)
        os.kill(before.pop(), signal.SIGKILL)
        load.goes_on(200)
        load.wait_for_replicas(lambda: len(set(replicas(pair, deployment)) - before) >= 1)
        load.goes_on(200)
    assert load.failures == []
    assert load.degraded == 0


def test_no_request_fails_while_a_retrieval_replica_hangs(pair: Any) -> None:
    """A stopped process takes calls and answers none; Serve finds it out only after half a minute."""
    wait_for(lambda: len(replicas(pair, "Retrieval-champion")) == 2)
    hung = replicas(pair, "Retrieval-champion")[0]
    with Load(pair.url) as load:
        load.goes_on(200)
        os.kill(hung, signal.SIGSTOP)
        try:
            load.goes_on(500)
        finally:
            os.kill(hung, signal.SIGCONT)
    assert load.failures == []


def test_an_event_is_recorded_once_when_its_replica_is_killed_before_the_answer(pair: Any) -> None:
    """The proxy, or the client, sends it again to the other replica, which must know it: it carries no event_id."""
    rounds = 2
    with Load(pair.url, events) as load:
        for _ in range(rounds):
            load.wait_for_replicas(lambda: len(replicas(pair, "IngestionDeployment")) == 2)
            load.goes_on(200)
            os.kill(replicas(pair, "IngestionDeployment")[0], signal.SIGKILL)
    assert load.failures == []
    with httpx.Client(base_url=pair.url, timeout=20) as http:
        for client, acknowledged in load.acknowledged.items():
            recorded = http.get(f"/api/v1/users/{user_of(client)}").json()["events"]["click"]
            assert recorded == acknowledged, client


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
    with Load(pair.url, clients=4) as load, Load(pair.url, events, clients=2) as sending:
        load.goes_on(50)
        deploy_pairs(pair, tmp_path, num_cpus=0.11)
        load.wait_for_replicas(lambda: not any(before[name] & set(replicas(pair, name)) for name in REPLICATED))
        load.goes_on(50)
    # Six replicas start at once. Where no core is left for the store meanwhile, lists come without features: degraded,
    # but they come.
    assert load.failures == []
    assert sending.failures == []


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
    """With the store's process stopped, an answer still comes within the deadline: a degraded list, and 504 where the
    machine is too busy for it; 503 and 504 to an event."""
    pid = json.loads((pair.settings.state_dir / "run" / "store.json").read_text())["pid"]
    headers = {"x-request-timeout-seconds": "0", "x-request-disconnect-disabled": "?1"}
    event = {"user_id": "late", "item_id": 1, "event_type": "click", "event_id": "late-1"}
    limit_s = pair.settings.serving.deadline_s + 1
    lists: list[httpx.Response] = []
    with pair.unwatched():
        os.kill(pid, signal.SIGSTOP)
        try:
            with httpx.Client(base_url=pair.url, timeout=20, headers=headers) as http:
                for _ in range(5):
                    started = time.monotonic()
                    refused = http.post("/api/v1/events", json=event)
                    assert time.monotonic() - started < limit_s
                    assert refused.status_code in (503, 504), refused.text
                    assert "retry-after" in refused.headers
                    started = time.monotonic()
                    lists.append(http.post("/api/v1/recommend", json={"user_id": 5}))
                    assert time.monotonic() - started < limit_s
                made = [answer.json() for answer in lists if answer.status_code == 200]
                assert {answer.status_code for answer in lists} <= {200, 504}
                assert made
                assert all(answer["degraded"] and len(answer["recommendations"]) == 10 for answer in made)
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

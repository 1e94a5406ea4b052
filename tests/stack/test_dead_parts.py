"""Parts of the stack that are killed: the supervisor starts them again, and nobody types anything."""

import os
import signal

import httpx
import pytest

from configs.settings import Settings
from configs.supervision import read_supervision
from deployments.local.processes import Record, family, processes
from tests.conftest import RunningStack, records
from tests.waiting import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.destructive]
RESTARTED_S = 240


def kill(record: Record) -> None:
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not record.alive())


def restarted(stack: RunningStack, part: str) -> bool:
    """Whether the supervisor's latest restart was of this part, and nothing is amiss now."""
    report = read_supervision(stack.settings.state_dir)
    return report is not None and not report.troubles and part in [one.part for one in report.latest[-2:]]


def serving_proxies(settings: Settings) -> list[int]:
    """Process ids of this stack's HAProxies."""
    return [
        one.pid for one in processes().values() if "haproxy" in one.command and str(settings.run_dir) in one.command
    ]


def test_a_dead_part_is_started_again_and_the_others_stay(stack: RunningStack) -> None:
    """By the supervisor, and nobody types anything."""
    before = records(stack.settings)
    kill(before["mlflow"])
    wait_for(lambda: restarted(stack, "mlflow"), RESTARTED_S)
    after = records(stack.settings)
    assert after["mlflow"].pid != before["mlflow"].pid
    assert {**after, "mlflow": before["mlflow"]} == before
    done = stack.command("status")
    assert done.returncode == 0, done.stdout
    assert "the last: mlflow ended by itself; it was started again" in done.stdout


@pytest.mark.faults
def test_without_a_supervisor_up_starts_what_died_and_the_supervisor(stack: RunningStack) -> None:
    before = records(stack.settings)
    kill(before["supervisor"])
    kill(before["mlflow"])
    status = stack.command("status")
    assert (status.returncode, "nobody watches the parts" in status.stdout) == (1, True)
    told = httpx.get(f"{stack.url}/health", timeout=30).json()["components"]["supervisor"]
    assert told["status"] == "degraded"
    assert "nobody watches the parts" in told["detail"]
    up = stack.command("up")
    assert up.returncode == 0, up.stderr
    after = records(stack.settings)
    assert {name for name in before if after[name] != before[name]} == {"mlflow", "supervisor"}
    assert stack.command("status").returncode == 0


@pytest.mark.faults
def test_a_dead_store_and_a_dead_head_come_back_with_the_model_and_every_event(stack: RunningStack) -> None:
    event = {"user_id": "survivor", "item_id": 50, "event_type": "click", "event_id": "before the end"}
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        assert http.post("/api/v1/events", json=event).status_code == 200
        version = http.post("/api/v1/recommend", json={"user_id": 196}).json()["model_version"]
        trainings = len(http.get("/api/v1/models").json()["models"])
    for part in ("store", "ray"):
        kill(records(stack.settings)[part])
        wait_for(lambda part=part: restarted(stack, part), RESTARTED_S)  # type: ignore[misc]
        wait_for(lambda: stack.command("status").returncode == 0, RESTARTED_S)
        with httpx.Client(base_url=stack.url, timeout=30) as http:
            answer = http.post("/api/v1/recommend", json={"user_id": 196}).json()
            assert (answer["model_version"], answer["degraded"]) == (version, False), part
            again = http.post("/api/v1/events", json=event).json()
            assert (again["status"], again["duplicate"]) == ("accepted", True), part
            assert len(http.get("/api/v1/models").json()["models"]) == trainings
    # What the head left behind is gone: one HAProxy answers, and it is one of the new head's.
    alive = records(stack.settings)["ray"]
    assert [pid for pid in serving_proxies(stack.settings) if pid not in family(alive)] == []

"""Models that change while requests come: retrained by hand and over HTTP, and bundles that are damaged.

The versions that these tests train are what `test_experiments_live` experiments with.
"""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.redis.connection import connect
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import CHAMPION
from tests.load import Load
from tests.waiting import wait_for

pytestmark = pytest.mark.stack
PAUSE_S = 0.1


@pytest.fixture(scope="module")
def api(stack: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client


def recommend(api: httpx.Client, user_id: int) -> dict[str, Any]:
    answer = api.post("/api/v1/recommend", json={"user_id": user_id})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_a_retraining_typed_by_hand_is_served_without_restart_or_failed_request(api: httpx.Client, stack: Any) -> None:
    before = recommend(api, 1)["model_version"]
    # Its clients pause: a training steps back behind whoever is asked, and would take minutes.
    with Load(stack.url, clients=2, pause_s=PAUSE_S) as load:
        job = [*("python", "-m", "jobs.retrain", "--no-search", "--iterations", "3", "--seed", "3")]
        job += ["--force"]  # whatever the gate says
        stack.run(["ray", "job", "submit", "--working-dir", ".", "--", *job])
        wait_for(lambda: recommend(api, 1)["model_version"] != before)
        wait_for(lambda: load.latest != before)
    assert (load.failures, load.degraded) == ([], 0)
    assert set(load.versions) == {before, recommend(api, 1)["model_version"]}


def test_a_retraining_over_http_without_evidence_leaves_the_champion(api: httpx.Client) -> None:
    """The gate has nothing to judge it on: hardly anything has happened since the champion was trained."""

    def read(path: str) -> dict[str, Any]:
        answer = api.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    champion = read("metrics/dashboard")["model_version"]
    first = api.post("/api/v1/mlops/trigger-retrain", json={"reason": "to see it"})
    assert first.status_code == 202, first.text
    job_id = first.json()["job_id"]
    second = api.post("/api/v1/mlops/trigger-retrain")
    assert second.status_code == 409
    assert second.json()["error"]["job_id"] == job_id
    wait_for(lambda: read("metrics/dashboard")["training_status"] in ("submitting", "training"))
    assert job_id in [job["job_id"] for job in read("mlops/jobs")["jobs"]]

    wait_for(lambda: (read(f"mlops/jobs/{job_id}")["progress"] or 0) > 0, 120)
    wait_for(lambda: read(f"mlops/jobs/{job_id}")["status"] == "SUCCEEDED", 240)
    detail = read(f"mlops/jobs/{job_id}")
    assert detail["progress"] == 100
    assert any("not promoted: no evidence" in line for line in detail["log_tail"])
    wait_for(lambda: read("metrics/model")["training"]["run"] is None)
    last = read("metrics/model")["training"]["last_run"]
    assert (last["run_id"], last["champion"], last["outcome"]) == (job_id, champion, "not_promoted")
    told = [line["text"] for line in read("mlops/timeline")["entries"] if line["run_id"] == job_id]
    assert len(told) == 4
    assert told[-1] == "asked for (person): to see it"
    assert recommend(api, 1)["model_version"] == champion


def point_champion_at(stack: Any, path: Path, reason: str) -> None:
    async def change() -> None:
        client = connect(stack.settings.store, stack.settings.store_url)
        keys = Keys(stack.settings.store.prefix, stack.settings.store.partitions)
        await set_slot(client, keys, CHAMPION, path.name, str(path), reason)
        await client.aclose()

    asyncio.run(change())


def test_a_damaged_bundle_is_refused_and_the_old_model_keeps_serving(api: httpx.Client, stack: Any) -> None:
    def model_health() -> dict[str, str]:
        found: dict[str, str] = api.get("/health").json()["components"]["model"]
        return found

    before = recommend(api, 1)["model_version"]
    bundles: Path = stack.settings.bundles_dir
    damaged = bundles / ("20990101-000000-" + before.rpartition("-")[2])
    shutil.copytree(bundles / before, damaged)
    content = bytearray((damaged / "items.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (damaged / "items.npz").write_bytes(content)
    try:
        point_champion_at(stack, damaged, "a damaged bundle")
        wait_for(lambda: model_health()["status"] == "degraded")
        wait_for(lambda: damaged.name in model_health()["detail"] and before in model_health()["detail"])
        for user in range(1, 30):
            assert recommend(api, user)["model_version"] == before
    finally:
        point_champion_at(stack, bundles / before, "back")
        shutil.rmtree(damaged)
    wait_for(lambda: model_health()["status"] == "ok")

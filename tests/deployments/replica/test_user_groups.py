"""Alerts on failed and on slow requests, as replicas count them and autopilot reads them from a real store."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from configs.settings import Settings, Store
from deployments.autopilot.alert_rules import due_alerts
from deployments.http.errors import ApiError
from deployments.operations.monitor import Monitor
from deployments.operations.prometheus_text import prometheus_text
from deployments.replica.ray_metrics import FAMILIES
from deployments.replica.request_metrics import RequestMetrics
from deployments.replica.user_groups import GroupCounts, is_failure
from features.redis.connection import StoreClient, durability
from features.redis.errors import EventConflict, StoreUnavailable
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio
SLOW_S = 0.5
USERS = [f"user {number}" for number in range(200)]


class Replicas(NamedTuple):
    """Four replicas, between which requests go round, and their store."""

    metrics: list[RequestMetrics]
    counts: list[GroupCounts]
    keys: Keys
    client: StoreClient
    settings: Settings

    def ask(self, user: str, times: int, failed: bool = False, list_s: float | None = None) -> None:
        for number in range(times):
            self.counts[number % len(self.counts)].answered(user, failed, list_s)

    async def alerts(self) -> dict[str, str]:
        for metrics in self.metrics:
            await metrics.flush()
        seen = await Monitor(self.settings, self.client, self.keys).observe()
        due = due_alerts(seen, await durability(self.client), [], [], {}, False, self.settings)
        return {alert.name: alert.text for alert in due if alert.name in ("errors", "slow", "shedding")}


@pytest.fixture
def replicas(tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys) -> Replicas:
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), alerts={"p99_ms": SLOW_S * 1000})
    metrics = [RequestMetrics(client, keys, "ranking") for _ in range(4)]
    counts = [GroupCounts(one.counts, SLOW_S) for one in metrics]
    return Replicas(metrics, counts, keys, client, settings)


@pytest.mark.parametrize("others", [0, 5, 200])
async def test_one_user_raises_no_alert(replicas: Replicas, others: int) -> None:
    """Regression: shares of all requests were those of whoever asked most."""
    for user in USERS[:others]:
        replicas.ask(user, 2, list_s=0.01)
    replicas.ask("broken", 5_000, failed=True)
    replicas.ask("heavy", 5_000, list_s=SLOW_S * 4)
    assert await replicas.alerts() == {}


async def test_one_user_hides_no_alert(replicas: Replicas) -> None:
    for number, user in enumerate(USERS):
        replicas.ask(user, 1, failed=number % 10 == 0, list_s=0.01 if number % 20 else SLOW_S * 2)
    replicas.ask("robot", 20_000, list_s=0.01)
    found = await replicas.alerts()
    assert found.keys() == {"errors", "slow"}
    assert "of 20200 requests failed, of users in " in found["errors"]


async def test_a_few_requests_mean_nothing(replicas: Replicas) -> None:
    for user in USERS[:19]:
        replicas.ask(user, 1, failed=True)
    assert await replicas.alerts() == {}
    replicas.ask(USERS[20], 1, failed=True)
    assert (await replicas.alerts()).keys() == {"errors"}


async def test_turning_away_has_an_alert_of_its_own(replicas: Replicas) -> None:
    """Who is turned away before the body is read has no name."""
    for _ in range(50):
        replicas.metrics[0].answered("recommend", 503, "overloaded")
    assert await replicas.alerts() == {}
    for _ in range(50):
        replicas.metrics[1].answered("events", 503, "overloaded")
    assert (await replicas.alerts()).keys() == {"shedding"}


async def test_the_groups_are_metrics_too(replicas: Replicas) -> None:
    replicas.ask("ada", 4, failed=True)
    await replicas.alerts()
    text = prometheus_text(await Monitor(replicas.settings, replicas.client, replicas.keys).observe(), 1000)
    [line] = [
        line for line in text.splitlines() if line.startswith("raycommend_group_requests_total{") and "failed" in line
    ]
    assert line.endswith(" 4.0")
    assert "by_group" in FAMILIES


def test_a_user_is_in_the_same_group_in_every_process() -> None:
    counts: dict[str, int] = defaultdict(int)
    GroupCounts(counts, SLOW_S).answered("123456789", failed=False)
    assert counts == {f"by_group:asked:{0xCBF43926 % 64}": 1}  # the check value of CRC-32


def test_what_the_client_did_wrong_is_no_failure() -> None:
    wrong = ApiError(422, "invalid", "a field"), EventConflict("another event")
    ours = ApiError(504, "deadline_exceeded", "late"), StoreUnavailable("away"), RuntimeError("a fault")
    assert [is_failure(error) for error in (*wrong, *ours)] == [False] * 2 + [True] * 3

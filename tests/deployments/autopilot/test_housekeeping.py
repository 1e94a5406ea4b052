"""What is used is shown beside its budgets, and told before it is all used."""

from collections.abc import Callable

import pytest

from configs.groups.keeping import Keeping
from configs.settings import Settings
from deployments.autopilot.autopilot import Autopilot
from deployments.operations.health import HealthProbe
from deployments.operations.heartbeat import read_heartbeat
from deployments.operations.monitor import Monitor
from deployments.operations.prometheus_text import prometheus_text
from features.lifecycle.table import GROUPS
from features.redis.connection import StoreClient
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio


async def nobody(*_: object) -> None:
    return None


async def looked(settings: Settings) -> None:
    pilot = Autopilot(settings, nobody, nobody)
    await pilot.look()
    await pilot.stop()


async def test_health_metrics_and_alerts_show_the_use(
    settings_of: Callable[..., Settings], client: StoreClient, keys: Keys
) -> None:
    settings = settings_of(mode="off").model_copy(update={"keeping": Keeping(log_bytes=1000)})
    settings.log_dir.mkdir()
    part = settings.log_dir / "part"
    part.write_bytes(bytes(799))
    probe, monitor = HealthProbe(settings, client, keys), Monitor(settings, client, keys)
    assert (await probe.check()).components["kept"].detail == "not measured yet"
    await looked(settings)
    calm = (await probe.check()).components["kept"]
    assert calm.status == "ok"
    assert all(f"{group} " in calm.detail for group in (*GROUPS, "store"))
    part.write_bytes(bytes(800))
    await looked(settings)
    near = (await probe.check()).components["kept"]
    assert (near.status, near.detail.partition(";")[0]) == ("degraded", "near its budget: log")
    beat = await read_heartbeat(client, keys)
    assert beat is not None
    assert "budget_log" in {alert.name for alert in beat.alerts}
    [log] = [one for one in (await monitor.system()).kept if one.group == "log"]
    assert (log.used_bytes, log.budget_bytes) == (800, 1000)
    text = prometheus_text(await monitor.observe(), 0)
    assert '\nraycommend_kept_bytes{group="log"} 800.0\n' in text
    assert '\nraycommend_kept_budget_bytes{group="log"} 1000.0\n' in text
    assert 'raycommend_kept_bytes{group="store"}' in text

"""What replicas say of themselves, and how long it counts."""

import pytest

from configs import clock
from features.recording.online_store import OnlineStore
from features.serving.replicas import SILENT_MS, ReplicaReport, read_replicas, report_replica

pytestmark = pytest.mark.anyio


async def test_what_is_old_or_from_before_the_clock_was_set_back_is_forgotten(store: OnlineStore) -> None:
    """A replica that died just before its clock was set back by an hour would have been there for an hour."""
    client, keys = store.client, store.keys
    now = clock.now_ms()
    moments = {"lives": now, "died": now - 2 * SILENT_MS, "of another time": now + 3_600_000}
    for name, moment in moments.items():
        report = ReplicaReport(
            deployment=name,
            time_ms=moment,
            model_version=None,
            wanted_version=None,
            problem=None,
            catalogue_version=1,
            index=None,
        )
        await report_replica(client, keys, name, report)
    for _ in range(2):
        assert [report.deployment for report in await read_replicas(client, keys)] == ["lives"]
    assert await client.run("HLEN", keys.replicas) == 1

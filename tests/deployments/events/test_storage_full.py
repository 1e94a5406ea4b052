"""A disk that runs full: events are refused before the store cannot write, since then it exits."""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import redis

from configs.settings import Settings
from deployments.autopilot.alert_rules import due_alerts
from deployments.console.console import Console
from deployments.console.routes import console_api
from deployments.events.ingestion import Ingestion
from deployments.http.errors import ApiError
from deployments.operations.health import HealthProbe
from deployments.operations.monitor import Monitor
from deployments.replica.user_groups import group_share
from features.recording.event_request import EventRequest
from features.redis.connection import connect, durability
from features.redis.disk_space import read_disk_space
from features.redis.errors import StorageFull
from features.redis.keys import Keys
from features.redis.layout import check_layout, keys_of
from jobs.maintenance.import_events import import_events
from jobs.maintenance.import_items import import_items
from tests.features.servers import Server, valkey_binary

pytestmark = pytest.mark.anyio
CLICK = EventRequest(user_id="u", item_id="i", event_type="click")
EVERYTHING_MB = 10**9  # no disk of these days has as much


def settings_of(server: Server, folder: Path, floor_mb: float) -> Settings:
    """Settings of a store on this machine, as the local stack has them."""
    (folder / "store").mkdir(exist_ok=True)
    store = {"prefix": f"t{os.urandom(4).hex()}", "partitions": 4, "disk_floor_mb": floor_mb}
    return Settings(store=store, ports={"store": server.port}, state_dir=folder)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_events_are_refused_below_the_floor_and_told_when_to_come_again(server: Server, tmp_path: Path) -> None:
    ingestion = Ingestion(settings_of(server, tmp_path, EVERYTHING_MB))
    await ingestion.start()
    try:
        for refused in (
            ingestion.record(CLICK, "e1"),
            ingestion.record_batch(orjson.dumps({"events": [CLICK.model_dump(exclude_none=True)]}), "request"),
        ):
            with pytest.raises(ApiError, match="less than the floor of 1,000,000,000 MB") as found:
                await refused
            assert (found.value.status, found.value.code, found.value.retry_after_s) == (503, "storage_full", 30)
        share = group_share(ingestion.metrics.totals(), "failed", "asked")
        assert (share.requests, share.groups) == (2, 2)  # that of the user, and that of whoever sends batches
    finally:
        await ingestion.stop()


@pytest.mark.parametrize(
    ("times", "severity", "words"),
    [(0.5, "warning", "below .* MB it refuses events: make room"), (2, "critical", "it refuses events, lists are")],
)
async def test_health_and_alert_tell_long_before(
    server: Server, tmp_path: Path, times: float, severity: str, words: str
) -> None:
    """Half of what is free as the floor is a warning, since it comes at four times the floor."""
    room = read_disk_space(settings_of(server, tmp_path, 0))
    assert room is not None
    assert room.problem is None
    settings = settings_of(server, tmp_path, room.free / 1e6 * times)
    client, keys = connect(settings.store, settings.store_url), keys_of(settings.store)
    try:
        disk = (await HealthProbe(settings, client, keys).check()).components["disk"]
        seen, state = await Monitor(settings, client, keys).observe(), await durability(client)
        [alert] = [one for one in due_alerts(seen, state, [], [], {}, False, settings) if one.name == "disk"]
    finally:
        await client.aclose()
    assert (disk.status, alert.severity) == ("degraded", severity)
    for text in (disk.detail, alert.text):
        assert re.search(words, text), text


async def test_the_disk_of_a_store_elsewhere_is_said_to_be_unseen(server: Server, tmp_path: Path, keys: Keys) -> None:
    settings = Settings(store={"url": server.url, "disk_floor_mb": EVERYTHING_MB}, state_dir=tmp_path)
    assert read_disk_space(settings) is None
    client = connect(settings.store, settings.store_url)
    disk = (await HealthProbe(settings, client, keys).check()).components["disk"]
    await client.aclose()
    assert disk.status == "ok"
    assert disk.detail.endswith("the disk of the online store cannot be seen from here: watch it where it runs")


async def test_descriptions_and_imports_are_refused_below_the_floor_too(server: Server, tmp_path: Path) -> None:
    settings = settings_of(server, tmp_path, EVERYTHING_MB)
    source = tmp_path / "events.jsonl"
    source.write_text('{"user_id": "u", "item_id": "i", "event_type": "click", "timestamp": 1790000000}\n')
    things = tmp_path / "items.jsonl"
    things.write_text('{"item_id": "i", "title": "I"}\n')

    async def unused(*_: object) -> Any:
        raise AssertionError("nothing here asks for this")

    console = Console(settings, unused, unused, unused)
    await console.start()
    try:
        app = console_api(lambda: console, settings.serving)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            for method, path, body in (
                ("PUT", "items/i", {"title": "I"}),
                ("POST", "items/batch", {"items": [{"item_id": "i", "title": "I"}]}),
                ("PUT", "users/u", {"attributes": {}}),
            ):
                answer = await api.request(method, f"/api/v1/{path}", json=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_full"), path
                assert answer.headers["retry-after"] == "30"
        await check_layout(console._client, console._keys)
        for work in (import_events(settings, source), import_items(settings, things)):
            with pytest.raises(StorageFull, match="less than the floor"):
                await work
    finally:
        await console.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_the_store_lives_on_and_keeps_what_it_acknowledged(small_disk: Path) -> None:
    """Without the floor the store exits here (appendfsync always), and everything with it."""
    server = Server(valkey_binary(), small_disk / "store")
    ingestion = Ingestion(settings_of(server, small_disk, 12))
    await ingestion.start()
    ballast = small_disk / "ballast"
    try:
        accepted, refused = 0, None
        deadline = time.monotonic() + 60
        while refused is None:
            assert time.monotonic() < deadline
            # One user each: the more a user has done, the more is written for the next event.
            events = [{"user_id": f"{accepted}-{n}", "item_id": "i", "event_type": "click"} for n in range(20)]
            try:
                answer = orjson.loads(await ingestion.record_batch(orjson.dumps({"events": events}), f"r{accepted}"))
            except ApiError as error:
                refused = error
            else:
                accepted += answer["accepted"]
                with ballast.open("ab") as file:  # What else writes to that disk.
                    file.write(bytes(100_000))
                await asyncio.sleep(0.02)  # At most 5 MB a second: a second's worth lies between the floor and the end.
        assert refused.code == "storage_full"
        with redis.Redis(port=server.port) as admin:
            assert admin.ping()
            prefix = ingestion.settings.store.prefix
            kept = sum(admin.xlen(key) for key in admin.scan_iter(f"{prefix}:*:events"))
        assert kept == accepted > 0

        async def taken_again() -> bool:
            try:
                await ingestion.record(CLICK, "after")
            except ApiError:
                return False
            return True

        ballast.unlink()
        await until(taken_again)
    finally:
        await ingestion.stop()
        server.stop()

"""What the health says, of a real store and of registries that are away."""

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from configs.settings import Settings, Store
from configs.supervision import FILE_NAME, Restart, Supervision, Trouble
from deployments.autopilot.alert_rules import due_alerts
from deployments.operations.health import HealthProbe
from deployments.operations.model_registry import ModelRegistry, RegistryAway
from deployments.operations.monitor import Monitor
from deployments.operations.prometheus_text import prometheus_text
from features.redis.connection import StoreClient, durability
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "uri",
    ["http://ada:s3cret@127.0.0.1:1", "http://s3cret@127.0.0.1:1/?token=s3cret", "postgresql://ada:s3cret@db/mlflow"],
)
async def test_no_password_of_the_registry_is_told(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys, uri: str
) -> None:
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": uri})
    told = (await HealthProbe(settings, client, keys).check()).model_dump_json()
    assert uri.rpartition("@")[2].partition("/")[0] in told
    registry = ModelRegistry(settings)
    with pytest.raises(RegistryAway) as refused:
        await registry.versions()
    assert "s3cret" not in f"{told} {refused.value} {registry.web_url} {await registry.problem()}"


@pytest.fixture
def registry_server() -> Iterator[str]:
    """Answers whatever it is asked with an empty object, as an empty registry does."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_no_proxy_of_the_environment_stands_between_the_parts(
    tmp_path: Path,
    store_settings: Store,
    client: StoreClient,
    keys: Keys,
    registry_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump(), tracking={"uri": registry_server})
    found = (await HealthProbe(settings, client, keys).check()).components["registry"]
    assert (found.status, found.detail) == ("ok", f"{registry_server} answers")
    assert await ModelRegistry(settings).versions() == {}


async def test_what_the_supervisor_did_is_in_health_alerts_and_metrics(
    tmp_path: Path, store_settings: Store, client: StoreClient, keys: Keys
) -> None:
    settings = Settings(state_dir=tmp_path, store=store_settings.model_dump())
    now_ms = int(time.time() * 1000)
    restart = Restart(part="store", time_ms=now_ms, why="ended by itself", tries=2, away_s=4.3)
    earlier = restart.model_copy(update={"part": "mlflow", "time_ms": now_ms - 3_600_000})
    well = Supervision(pid=os.getpid(), since_ms=now_ms, restarts=2, latest=[earlier, restart])
    trouble = Trouble(since_ms=now_ms, tries=3, text="ray ended by itself: 3 starts did not help", log_end="no memory")

    async def found(report: Supervision | None) -> tuple[str, str, dict[str, str], str]:
        if report is not None:
            (tmp_path / FILE_NAME).write_text(report.model_dump_json(exclude={"beat_ms"}))
        component = (await HealthProbe(settings, client, keys).check()).components["supervisor"]
        seen, state = await Monitor(settings, client, keys).observe(), await durability(client)
        due = {one.name: one.text for one in due_alerts(seen, state, [], [], {}, False, settings)}
        return component.status, component.detail, due, prometheus_text(seen, 0)

    status, detail, due, metrics = await found(None)
    assert (status, "no supervisor reports here" in detail, due) == ("ok", True, {})
    assert "\nraycommend_supervisor_watching " not in metrics

    status, detail, due, metrics = await found(well)
    assert status == "ok"
    assert "2 restarts, the last: store ended by itself; it was started again and worked at try 2 after 4.3 s" in detail
    assert due == {"store_restarted": restart.text}
    assert "raycommend_supervisor_watching 1.0" in metrics
    assert "raycommend_part_restarts_total 2.0" in metrics

    status, detail, due, metrics = await found(well.model_copy(update={"latest": [], "troubles": {"ray": trouble}}))
    assert (status, detail) == ("degraded", trouble.text)
    assert due == {"ray_down": f"{trouble.text}; the end of its log: no memory"}
    assert 'raycommend_part_down{part="ray"} 1.0' in metrics

    # The highest number that Linux gives a process is 4,194,304.
    status, detail, due, metrics = await found(well.model_copy(update={"pid": 5_000_000}))
    assert (status, list(due)) == ("degraded", ["unsupervised"])
    assert "nobody watches the parts" in detail
    assert "raycommend_supervisor_watching 0.0" in metrics

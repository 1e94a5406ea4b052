"""The console while parts of the system are away, and over several replicas."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import expect

pytestmark = [pytest.mark.stack, pytest.mark.destructive]
SLOW_MS = 60_000


def store_pid(stack: Any) -> int:
    found = subprocess.run(
        ["pgrep", "-f", f"valkey-server.*:{stack.settings.ports.store}"], capture_output=True, text=True, check=False
    ).stdout.split()
    assert len(found) == 1, found
    return int(found[0])


def test_a_silent_store_is_told_and_the_pages_recover(open_page: Any, stack: Any) -> None:
    expected = ("status of 503", "Failed to load resource")
    overview = open_page("#/overview", expected=expected)
    models = open_page("#/models", expected=expected)
    expect(overview.locator("#health")).to_have_text("all well")
    pid = store_pid(stack)
    with stack.unwatched():
        os.kill(pid, signal.SIGSTOP)
        try:
            expect(overview.locator("#health")).to_contain_text("down", timeout=SLOW_MS)
            expect(overview.locator(".components li:has(strong:has-text('Online store'))")).to_contain_text(
                "down", timeout=SLOW_MS
            )
            expect(overview.locator('[data-tile="events"]')).to_have_text("–", timeout=SLOW_MS)
            models.reload()
            expect(models.get_by_role("alert")).to_contain_text("the online store does not answer", timeout=SLOW_MS)
        finally:
            os.kill(pid, signal.SIGCONT)
    expect(overview.locator("#health")).to_have_text("all well", timeout=SLOW_MS)
    expect(models.locator("tbody tr").first).to_be_visible(timeout=SLOW_MS)


def console_replicas(stack: Any) -> list[int]:
    """Process ids of this stack's replicas of the console."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        # Ray changes what stands before this while a method runs.
        if "ServeReplica:console:ConsoleDeployment" in title and str(stack.settings.state_dir).encode() in environment:
            found.append(int(entry.name))
    return found


@pytest.fixture
def two_replicas(stack: Any, tmp_path: Path) -> None:
    """Two replicas of the console, until the next deployment: what comes after these tests deploys anew."""
    served = stack.settings.state_dir / "serve_config.yaml"
    config = yaml.safe_load(served.read_text())
    [console] = [one for one in config["applications"] if one["name"] == "console"]
    [deployment] = [one for one in console["deployments"] if one["name"] == "ConsoleDeployment"]
    deployment["autoscaling_config"]["min_replicas"] = 2
    changed = tmp_path / "serve_config.yaml"
    changed.write_text(yaml.safe_dump(config))
    stack.run(["serve", "deploy", str(changed)])
    deadline = time.monotonic() + 240
    while len(console_replicas(stack)) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_two_replicas_answer_alike_behind_one_page(
    open_page: Any, api: httpx.Client, stack: Any, two_replicas: None
) -> None:
    page = open_page("#/overview", expected=("Failed to load resource",))
    tags: set[str] = set()
    for _ in range(40):
        answer = api.get("/api/v1/console/snapshot")
        assert answer.status_code == 200
        tags.add(answer.headers["etag"])
    assert len(tags) < 20, "replicas that know the same give the same tag"
    killed = console_replicas(stack)[0]
    os.kill(killed, signal.SIGKILL)
    with page.expect_response(lambda answer: answer.status in (200, 304)):
        pass
    expect(page.locator("#stale")).to_be_hidden(timeout=SLOW_MS)
    expect(page.locator("#health")).not_to_have_text("connecting")
    deadline = time.monotonic() + 240
    while killed in (found := console_replicas(stack)) or len(found) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)

"""Scrape configuration, alert rules and dashboard: valid, tested, and about metrics that exist."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml

from configs.settings import PROJECT_DIR, Settings
from deployments.local.__main__ import scrape_config
from features.lifecycle.table import FILES
from tests.conftest import RunningStack

FOLDER = PROJECT_DIR / "configs" / "prometheus"
DASHBOARD = PROJECT_DIR / "configs" / "grafana" / "raycommend.json"
RAY_REPORTS_S = 60  # within which Ray exports a new replica's series
NAME = re.compile(r"\b(?:raycommend|ray|haproxy)_[a-z0-9_]+")


def promtool(*words: str) -> str:
    binary = shutil.which("promtool")
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing (Debian: apt install prometheus)")
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run([binary, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_valid() -> None:
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", str(FOLDER / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", str(FOLDER / "alerts_test.yml"))


def test_every_alert_has_a_test_of_both_kinds() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    names = {rule["alert"] for rule in rules}
    for fires in (False, True):
        cases = (one for test in tests for one in test["alert_rule_test"])
        assert {one["alertname"] for one in cases if bool(one["exp_alerts"]) is fires} == names


def test_the_rules_say_what_autopilot_says() -> None:
    """The limits in the rules are the defaults of the settings."""
    text = (FOLDER / "alerts.yml").read_text()
    alerts = Settings().alerts
    for limit in (alerts.error_share, int(alerts.lag_s), int(alerts.model_age_s)):
        assert f"> {limit}\n" in text
    assert f"raycommend_kept_budget_bytes >= {Settings().keeping.warn_share}\n" in text


def test_the_command_scrapes_the_ports_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(ports={"http": 8123, "metrics": 8124, "haproxy_metrics": 8125})
    found = yaml.safe_load(scrape_config(settings))["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"] for job in found}
    assert targets == {
        "raycommend": [{"targets": ["127.0.0.1:8123"]}],
        "ray": [{"targets": ["127.0.0.1:8124"]}],
        "haproxy": [{"targets": ["127.0.0.1:8125"]}],
    }
    (tmp_path / "prometheus.yml").write_text(scrape_config(settings))
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_the_dashboard_is_whole() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 15
    assert all(panel["title"] and panel["targets"] for panel in panels)


@pytest.mark.stack
def test_every_metric_that_is_named_exists_in_a_scrape(stack: RunningStack) -> None:
    named = set(NAME.findall((FOLDER / "alerts.yml").read_text()))
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            named |= set(NAME.findall(target["expr"]))
    assert named
    addresses = (f"{stack.url}/metrics", f"http://127.0.0.1:{stack.settings.ports.metrics}/metrics")
    deadline = time.monotonic() + RAY_REPORTS_S
    while missing := named - set().union(*map(scraped_names, addresses)):
        # The platform's own are there at once.
        assert all(name.startswith("ray_") for name in missing), missing
        assert time.monotonic() < deadline, missing
        time.sleep(1)


@pytest.mark.stack
def test_every_file_of_a_running_stack_is_in_the_table(stack: RunningStack) -> None:
    names = {path.name for path in stack.settings.state_dir.iterdir()}
    assert len(names) > 5
    assert names <= {row.name for row in FILES}


def scraped_names(address: str) -> set[str]:
    """Names of the series that the address exports."""
    found = httpx.get(address, timeout=30)
    assert found.status_code == 200
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", found.text, re.MULTILINE):
        names |= {name} if kind != "histogram" else {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return names

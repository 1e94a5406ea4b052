"""What the tests of the chart stand on: Helm's own engine in an environment of its own, and what it renders."""

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.settings import PROJECT_DIR

CHART = PROJECT_DIR / "deploy" / "helm" / "raycommend"
TOOLS = PROJECT_DIR / ".venv" / "deploy-tools" / "bin"
Render = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of Helm's engine, the schemas and the linters."""
    if not (TOOLS / "python").exists():
        missing = "Helm's engine is not installed: run `make deploy-tools`"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return TOOLS


@pytest.fixture(scope="session")
def run_tool(tools: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a program of the tools with arguments, in the project's folder."""

    def run(program: str, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(tools / program), *arguments],
            cwd=PROJECT_DIR,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def render(run_tool: Callable[..., "subprocess.CompletedProcess[str]"]) -> Render:
    """Renders the chart for an environment, with values set besides."""

    def run(environment: str, *settings: str) -> "subprocess.CompletedProcess[str]":
        given = [word for setting in settings for word in ("--set", setting)]
        values = str(CHART / f"values-{environment}.yaml")
        return run_tool("python", "deploy/tools/chart.py", "render", "--values", values, *given)

    return run


@pytest.fixture(scope="session")
def manifests(render: Render) -> Callable[..., dict[tuple[str, str], Any]]:
    """(kind, name) -> manifest, of what the chart renders; not to be changed, since the next test gets the same."""

    @functools.cache
    def run(environment: str, *settings: str) -> dict[tuple[str, str], Any]:
        done = render(environment, *settings)
        assert done.returncode == 0, done.stderr
        found = list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))
        named = {(one["kind"], one["metadata"]["name"]): one for one in found}
        assert len(named) == len(found), "two manifests have the same kind and name"
        return named

    return run

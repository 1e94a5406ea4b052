"""Imports point one way: configs, data -> models, experiments -> features -> deployments | jobs."""

import ast
import tomllib
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR

# A package may import itself and what stands here.
ALLOWED = {
    "configs": set(),
    "data": {"configs"},
    "models": {"configs", "data"},
    "experiments": {"configs", "data"},
    "features": {"configs", "data", "models", "experiments"},
    "deployments": {"configs", "data", "models", "experiments", "features"},
    "jobs": {"configs", "data", "models", "experiments", "features"},
}
PACKAGES = {*ALLOWED, "benchmarks"}
# Arrays in, arrays out.
NOT_IN_PURE_PACKAGES = {"ray", "redis", "mlflow", "fastapi", "starlette", "httpx", "uvicorn"}
# Those that start and stop processes run where nothing of the platform runs yet, so they know its settings only.
LOCAL_STACK = {
    "local_stack", "stack", "stack_parts", "serve_control", "processes", "preflight", "probes", "ray_environment",
}  # fmt: skip


def imported(file: Path) -> set[str]:
    """Full names of all modules that a file imports, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            # `from jobs import submit` imports jobs.submit
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


FILES = [file for package in sorted(ALLOWED) for file in sorted((PROJECT_DIR / package).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT_DIR)))
def test_a_module_imports_only_what_lies_below_it(file: Path) -> None:
    package = file.relative_to(PROJECT_DIR).parts[0]
    found = tops(imported(file))
    assert found & PACKAGES <= ALLOWED[package] | {package}
    if package in ("models", "experiments"):
        assert not found & NOT_IN_PURE_PACKAGES
    if package == "deployments":
        assert "mlflow" not in found, "serving never imports MLflow"


@pytest.mark.parametrize("name", sorted(LOCAL_STACK))
def test_the_local_stack_knows_settings_only(name: str) -> None:
    names = imported(PROJECT_DIR / "deployments" / f"{name}.py")
    own = {other for other in names if other.startswith("deployments.")}
    assert tops(names - own) & PACKAGES <= {"configs", "deployments"}
    assert {other.split(".")[1] for other in own} <= LOCAL_STACK
    assert not tops(names) & {"ray", "redis", "mlflow", "httpx"}


def test_serving_does_not_depend_on_the_local_stack() -> None:
    for file in (PROJECT_DIR / "deployments").rglob("*.py"):
        if file.stem not in LOCAL_STACK:
            own = {name for name in imported(file) if name.startswith("deployments.")}
            assert not {name.split(".")[1] for name in own} & LOCAL_STACK, file


def test_every_package_is_known_to_the_build() -> None:
    project = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]) == PACKAGES
    assert set(project["tool"]["mypy"]["packages"]) == PACKAGES
    assert {file.parent.name for file in PROJECT_DIR.glob("*/__init__.py")} <= PACKAGES

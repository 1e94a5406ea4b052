"""Imports point one way: configs, data -> models, experiments -> features -> deployments | jobs."""

import ast
import json
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR

# A package may import itself and what stands here.
ALLOWED = {
    "configs": set(),
    "data": {"configs"},
    # Of `experiments` only the definition of average precision, which offline, live and experiments share.
    "models": {"configs", "data", "experiments"},
    "experiments": {"configs", "data"},
    "features": {"configs", "data", "models", "experiments"},
    "deployments": {"configs", "data", "models", "experiments", "features"},
    "jobs": {"configs", "data", "models", "experiments", "features"},
    # Only what makes the clients; they themselves know nothing of this project.
    "clients": {"configs", "deployments"},
}
PACKAGES = {*ALLOWED, "benchmarks"}
# Parts of `deployments/` may import themselves and these. What they need of one another goes through `operations`.
PARTS: dict[str, set[str]] = {
    "http": set(),
    "access": {"http"},
    "replica": {"http"},
    "recommend": {"http", "replica", "operations", "access"},
    "events": {"http", "replica", "operations", "access"},
    "operations": {"http", "replica", "access"},
    "autopilot": {"http", "replica", "operations"},
    "catalogue": {"http", "replica", "operations"},
    "console": {"http", "replica", "operations", "catalogue", "access"},
    "local": set(),
    "proxy": set(),
}
# Arrays in, arrays out.
NOT_IN_PURE_PACKAGES = {"ray", "redis", "mlflow", "fastapi", "starlette", "httpx", "uvicorn"}
IN_THE_CLIENT = {"raycommend_client", "httpx", "pydantic", "typing_extensions"}
NOT_IN = {"models": NOT_IN_PURE_PACKAGES, "experiments": NOT_IN_PURE_PACKAGES, "deployments": {"mlflow"}}


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


SKIPPED = {"__pycache__", "node_modules"}
MADE = {PROJECT_DIR / "clients" / name for name in json.loads((PROJECT_DIR / "clients/made.json").read_text())["made"]}
"""Files that generators write."""
FILES = [file for package in sorted(ALLOWED) for file in sorted((PROJECT_DIR / package).rglob("*.py"))]


def test_a_module_imports_only_what_lies_below_it() -> None:
    wrong = {}
    for file in FILES:
        package, found = file.relative_to(PROJECT_DIR).parts[0], tops(imported(file))
        forbidden = (found & PACKAGES) - ALLOWED[package] - {package}
        forbidden |= found & NOT_IN.get(package, set())
        if forbidden:
            wrong[str(file.relative_to(PROJECT_DIR))] = sorted(forbidden)
    assert wrong == {}


def test_what_runs_in_a_bare_container_needs_the_standard_library_alone() -> None:
    for name in ("container/answers.py", "container/runtime_lock.py", "container/make_secrets.py", "tools/release.py"):
        assert tops(imported(PROJECT_DIR / "deploy" / name)) <= sys.stdlib_module_names, name


def files_of(folder: str) -> list[Path]:
    found = sorted((PROJECT_DIR / folder).rglob("*.py"))
    assert found, f"{folder} holds no code"
    return found


@pytest.mark.parametrize(("part", "allowed"), PARTS.items(), ids=PARTS)
def test_a_part_of_deployments_stands_only_on_what_it_may(part: str, allowed: set[str]) -> None:
    for file in files_of(f"deployments/{part}"):
        own = {name.split(".")[1] for name in imported(file) if name.startswith("deployments.")}
        assert own <= allowed | {part}, file


def test_the_local_stack_knows_settings_only() -> None:
    """The local stack starts where no other part of the project runs yet, so it can ask none of them."""
    for file in files_of("deployments/local"):
        found = tops(imported(file))
        assert found & PACKAGES <= {"configs", "deployments"}, file
        assert not found & {"ray", "redis", "mlflow", "httpx"}, file


def test_the_client_stands_alone() -> None:
    for file in files_of("clients/python/src"):
        assert tops(imported(file)) <= {*sys.stdlib_module_names, *IN_THE_CLIENT}, file
    project = tomllib.loads((PROJECT_DIR / "clients/python/pyproject.toml").read_text())
    names = {re.split("[<>=]", one)[0].replace("-", "_") for one in project["project"]["dependencies"]}
    assert names == IN_THE_CLIENT - {"raycommend_client"}


def test_every_package_is_known_to_the_build() -> None:
    project = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.removesuffix("*") for name in found} == PACKAGES
    assert set(project["tool"]["mypy"]["packages"]) == PACKAGES
    assert {file.parent.name for file in PROJECT_DIR.glob("*/__init__.py")} <= PACKAGES


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_folder_of_code_says_what_lives_in_it(package: str) -> None:
    for folder in {file.parent for file in files_of(package)}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


@pytest.mark.parametrize("package", [*sorted(PACKAGES), "deploy", "docs", "tests"])
def test_a_folder_holds_at_most_15_files_and_a_module_at_most_350_lines(package: str) -> None:
    files = [
        file
        for file in (PROJECT_DIR / package).rglob("*")
        if file.is_file() and not SKIPPED & {*file.parts} and file.name not in ("__init__.py", "README.md")
    ]
    assert {folder: n for folder, n in Counter(file.parent for file in files).items() if n > 15} == {}
    written = [file for file in files if file.suffix in (".py", ".ts") and file not in MADE]
    long = {file: len(file.read_text().splitlines()) for file in written}
    assert {file: lines for file, lines in long.items() if lines > 350} == {}

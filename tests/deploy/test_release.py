"""What a release is called, what its notes say, and what the workflows run."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR
from deploy.tools.release import COPIES, ReleaseError, check_copies, notes, set_version, version_of
from tests.clients.test_typescript import node

CHANGELOG = "# Changelog\n\n## Unreleased\n\n- Next.\n\n## 1.1.0 (2026-11-28)\n\n- A.\n- B.\n\n## 1.0.0\n\n- First.\n"


def test_notes_are_those_of_the_version_alone() -> None:
    assert notes(CHANGELOG, "v1.1.0", "1.1.0") == "- A.\n- B."
    assert notes(CHANGELOG, "v1.0.0", "1.0.0") == "- First."


@pytest.mark.parametrize(
    ("tag", "version", "words"),
    [
        ("v1.1.0", "1.2.0", "the tag is v1.1.0, and pyproject.toml says 1.2.0: the tag must be v1.2.0"),
        ("1.1.0", "1.1.0", "the tag must be v1.1.0"),
        ("v1.2.0", "1.2.0", "CHANGELOG.md has no notes under `## 1.2.0`"),
        ("v1.1", "1.1", "CHANGELOG.md has no notes under `## 1.1`"),
    ],
)
def test_a_release_without_version_or_notes_is_refused(tag: str, version: str, words: str) -> None:
    with pytest.raises(ReleaseError, match=re.escape(words)):
        notes(CHANGELOG, tag, version)


def test_the_project_has_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version_of((PROJECT_DIR / "pyproject.toml").read_text()))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that name the version."""
    for name in (*COPIES, "clients/made.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_DIR / name, tmp_path / name)
    return tmp_path


def test_clients_chart_and_image_have_the_version_of_the_project() -> None:
    check_copies(PROJECT_DIR)


@pytest.mark.parametrize("name", [name for name in COPIES if name != "pyproject.toml"])
def test_a_release_with_another_version_in_one_file_is_refused(copy: Path, name: str) -> None:
    version = version_of((copy / "pyproject.toml").read_text())
    (copy / name).write_text((copy / name).read_text().replace(version, "77.0.1", 1))
    with pytest.raises(ReleaseError, match=rf"{name} says version 77\.0\.1, and pyproject\.toml {version}: run"):
        check_copies(copy)


def test_a_new_version_is_written_everywhere_and_changes_nothing_else(copy: Path) -> None:
    before = {name: (copy / name).read_text() for name in COPIES}
    version = version_of(before["pyproject.toml"])
    set_version(copy, "77.0.1")
    check_copies(copy)
    assert version_of((copy / "pyproject.toml").read_text()) == "77.0.1"
    for name, text in before.items():
        changed = [
            (old, new)
            for old, new in zip(text.splitlines(), (copy / name).read_text().splitlines(), strict=True)
            if old != new
        ]
        assert len(changed) == len(COPIES[name])
        assert [new for old, new in changed] == [old.replace(version, "77.0.1") for old, new in changed]
    sums = json.loads((copy / "clients" / "made.json").read_text())["from"]
    for name in ("typescript/package.json", "typescript/package-lock.json"):
        assert sums[name] == hashlib.sha256((copy / "clients" / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("version", ["v1.2.3", "1.2", "1.2.3-rc1", ""])
def test_what_is_no_version_is_written_nowhere(copy: Path, version: str) -> None:
    before = {name: (copy / name).read_text() for name in COPIES}
    with pytest.raises(ReleaseError, match="three numbers"):
        set_version(copy, version)
    assert {name: (copy / name).read_text() for name in COPIES} == before


def test_workflows_run_what_there_is() -> None:
    texts = [file.read_text() for file in sorted((PROJECT_DIR / ".github" / "workflows").glob("*.yaml"))]
    assert len(texts) == 2
    named = {path for text in texts for path in re.findall(r"(?:deploy|\.ci)/[\w./-]*\w", text)}
    assert {"deploy/container/Dockerfile", "deploy/tools/release.py", ".ci/run"} <= named
    made = {"deploy/container/.env"}
    names = {re.sub(r"values$", "values-dev.yaml", path) for path in named - made}
    assert [path for path in names if not (PROJECT_DIR / path).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE))
    assert {name for text in texts for name in re.findall(r"run: make ([a-z-]+)", text)} <= targets


def test_the_load_script_of_k6_is_javascript() -> None:
    """k6 itself is not installed here; Node.js reads the script."""
    text = (PROJECT_DIR / "benchmarks" / "measuring" / "k6.js").read_text()
    done = subprocess.run(
        [node(), "--input-type=module", "--check", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

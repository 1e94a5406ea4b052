"""The Python client on each version of Python that it is for, as far as this machine has it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR
from tests.clients.faulty import Api

PACKAGE = PROJECT_DIR / "clients" / "python"
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
INSTALL_S = 120


def program(version: str) -> str:
    """The Python of that version: ours, one on PATH, or pyenv's. Skips the test where there is none."""
    if version == OURS:
        return sys.executable
    # Before PATH, where pyenv puts stand-ins for versions that are not chosen.
    of_pyenv = sorted(str(path) for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    found = of_pyenv[-1] if of_pyenv else shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"no Python {version} among pyenv's or on PATH")
    return found


def packages(python: str, folder: Path) -> Path:
    """What the client stands on, for another Python than ours; its own pip knows best what that is."""
    needed = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["dependencies"]
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--target", str(folder))
    done = subprocess.run(
        [python, "-m", "pip", "install", *options, *needed],
        capture_output=True, text=True, timeout=INSTALL_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"its packages for {python} cannot be had: {done.stderr.strip()[-300:]}")
    return folder


@pytest.mark.parametrize(
    "version", [version if version == OURS else pytest.param(version, marks=pytest.mark.matrix)
                for version in ("3.10", "3.11", "3.12", "3.13")]
)  # fmt: skip
def test_a_walk_through_the_client(api: Api, tmp_path: Path, version: str) -> None:
    python = program(version)
    places = [PACKAGE / "src"] if version == OURS else [PACKAGE / "src", packages(python, tmp_path)]
    done = subprocess.run(
        [python, "-W", "error", PROJECT_DIR / "tests/clients/walk.py", api.url],
        env={"PYTHONPATH": ":".join(map(str, places))}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"all is well on Python {version}." in done.stdout

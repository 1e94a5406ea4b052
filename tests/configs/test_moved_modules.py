"""Old names of modules say the new ones."""

import importlib
import importlib.util
import subprocess
import sys

import pytest
import yaml

from configs.settings import PROJECT_DIR

MOVED = yaml.safe_load((PROJECT_DIR / "configs" / "moved_modules.yaml").read_text())


def test_every_new_name_is_there_and_every_old_one_says_it() -> None:
    for old, new in MOVED.items():
        assert importlib.util.find_spec(new) is not None, new
        with pytest.raises(ModuleNotFoundError, match=rf"^{old} is {new} now$"):
            importlib.import_module(old)


def test_a_command_typed_by_its_old_name_says_the_new_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployments.local_stack", "up"],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "deployments.local_stack is deployments.local now" in done.stderr


def test_a_name_that_never_was_is_told_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'deployments\.never'"):
        importlib.import_module("deployments.never")

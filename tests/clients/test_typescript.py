"""The TypeScript client in Node, against the real applications."""

import os
import re
import shutil
import subprocess

import pytest

from configs.settings import PROJECT_DIR
from tests.clients.conftest import Guarded
from tests.clients.faulty import Api
from tests.deployments.access.test_tokens import token

TESTS = PROJECT_DIR / "tests" / "clients" / "typescript"


def node() -> str:
    """Node 20 or later; a machine without it skips the test, and in CI that is a failure."""
    found = shutil.which("node")
    version = (
        subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout if found else "v0."
    )
    if found is not None and int(version[1:].partition(".")[0]) >= 20:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("no Node 20 or later on PATH")
    pytest.skip("no Node 20 on PATH")


def test_in_node(api: Api, guarded: Guarded) -> None:
    environment = {
        "PATH": os.environ["PATH"], "API_URL": api.url, "GUARDED_URL": guarded.api.url, "SHOP_KEY": guarded.shop_key,
        "TOKEN": token(user_id="ada"), "OLD_TOKEN": token(exp=1),
    }  # fmt: skip
    done = subprocess.run(
        [node(), "--test", "--test-reporter=tap", *TESTS.glob("*.test.mjs")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, flags=re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 15

"""The shell blocks of the documents, run as they stand against the running stack.

A block that cannot run there has a comment in the line above it that says why: `<!-- not run: REASON -->`.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from configs.settings import PROJECT_DIR

PAGES = [
    *(PROJECT_DIR / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((PROJECT_DIR / "docs").glob("*.md")),
]
ADDRESS = "http://127.0.0.1:8000"
FENCE = re.compile(r"^```(\w*)$")
REASON = re.compile(r"^<!-- not run: (\S.*) -->$")
RUN_S = 300
# `curl -s` alone succeeds whatever the answer was.
CURL = """curl() { command curl --fail-with-body --write-out '%{stderr}status %{http_code}\\n' "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """One shell block. `line` is that of its first fence; `reason` says why it is not run."""

    page: Path
    line: int
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(PROJECT_DIR)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The shell blocks of a page."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if fence is None:
            continue
        if opened is None:
            opened = (number, fence[1])
            continue
        start, language = opened
        opened = None
        if language in ("sh", "bash", "shell", "console"):
            reason = REASON.match(lines[start - 1]) if start else None
            text = "\n".join(lines[start + 1 : number])
            found.append(Block(page, start + 1, text, reason[1] if reason else None))
    assert opened is None, f"{page}: a block is not closed"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.stack
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.reason is None], ids=str)
def test_a_shell_block_runs(stack: Any, block: Block, tmp_path: Path) -> None:
    text = block.text.replace(ADDRESS, stack.url).replace("source .raycommend/", f"source {stack.settings.state_dir}/")
    assert ".raycommend" not in text, "a block that runs must not touch a person's own stack"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", CURL + text],
        # The client for Python stands as it does where it is installed.
        env={**stack.environment, "PYTHONPATH": f"{PROJECT_DIR}:{PROJECT_DIR / 'clients/python/src'}"},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    statuses = re.findall(r"^status (\d+)$", done.stderr, flags=re.MULTILINE)
    # A call at the start of a line, not the word within one.
    assert len(statuses) == len(re.findall(r"^curl ", text, flags=re.MULTILINE))
    assert all(status.startswith("2") for status in statuses), done.stderr


def test_a_block_that_is_not_run_says_why() -> None:
    """A reason that no longer stands right above its block would let the block run, or excuse nothing."""
    excused = [block for block in BLOCKS if block.reason is not None]
    written = sum(line.startswith("<!-- not run:") for page in PAGES for line in page.read_text().splitlines())
    assert len(excused) == written


def test_the_first_steps_of_the_readme_are_run() -> None:
    run = [block.text for block in BLOCKS if block.page == PROJECT_DIR / "README.md" and block.reason is None]
    assert any("/api/v1/recommend" in text for text in run)
    assert any("/api/v1/events" in text for text in run)

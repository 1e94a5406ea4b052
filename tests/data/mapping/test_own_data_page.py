"""docs/own-data.md shows what its commands print of the data that its Python block invents."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR
from jobs.inspect.inspect_data import main

PAGE = (PROJECT_DIR / "docs" / "own-data.md").read_text()


def test_the_page_shows_what_is_read_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(tmp_path / ".raycommend"))
    monkeypatch.setenv("RAYCOMMEND_DATASET_DIR", str(tmp_path / "data"))
    assert main(["orders.csv", "--items", "products.csv"]) == 0
    printed = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    assert f"```\n{printed}```\n" in PAGE

"""The version of this program. It stands in pyproject.toml alone."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@cache
def program_version() -> str:
    """As pyproject.toml beside the code says, or the installed package where there is none; "unknown" without both."""
    try:
        found: str = tomllib.loads(_PROJECT.read_text())["project"]["version"]
        return found
    except FileNotFoundError:
        pass
    try:
        return version("raycommend")
    except PackageNotFoundError:
        return "unknown"

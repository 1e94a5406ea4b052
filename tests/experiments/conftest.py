"""Published numbers that the statistics must reproduce; `oracles.json` names the source of each."""

import json
from pathlib import Path
from typing import Any

import pytest

ORACLES = Path(__file__).parent / "oracles.json"


@pytest.fixture(scope="session")
def oracles() -> dict[str, Any]:
    return json.loads(ORACLES.read_text())

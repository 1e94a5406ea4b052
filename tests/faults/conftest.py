"""A stack for tests that kill, redeploy and stop parts of it, which others would find in theirs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunningStack, own_stack


@pytest.fixture(scope="package")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data_slice: Path
) -> Iterator[RunningStack]:
    """A stack on a slice of the data, for this folder alone."""
    yield from own_stack(request, tmp_path_factory, data_slice)

"""Replicas are killed and functions redeployed here, so this shares the console's stack and comes after its tests."""

import pytest

from tests.conftest import RunningStack


@pytest.fixture(scope="package")
def stack(second_stack: RunningStack) -> RunningStack:
    """The second stack, which these tests change as they like."""
    return second_stack

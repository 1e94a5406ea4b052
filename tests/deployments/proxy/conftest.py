"""Proxies and replicas of a test's own."""

from collections.abc import Callable, Iterator

import pytest

from configs.groups.proxy import Proxy
from tests.deployments.proxy.front import Front
from tests.deployments.proxy.small_replica import Replica


@pytest.fixture
def replica() -> Iterator[Replica]:
    replica = Replica()
    yield replica
    replica.close()


@pytest.fixture
def front() -> Iterator[Callable[..., Front]]:
    fronts: list[Front] = []

    def make(**limits: float) -> Front:
        fronts.append(Front(Proxy(**limits)))  # type: ignore[arg-type]
        return fronts[-1]

    yield make
    for front in fronts:
        front.close()

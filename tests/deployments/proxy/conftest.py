"""Proxies and replicas of a test's own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

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


@pytest.fixture
def proxy(front: Callable[..., Front], replica: Replica) -> Front:
    proxy = front()
    proxy.write({"console": [replica.port]})
    return proxy


@pytest.fixture
def mortal() -> Iterator[Callable[[int], tuple[subprocess.Popen[str], list[int]]]]:
    """Makes replicas that die together, in a process of their own: the process and their ports."""
    with ExitStack() as until_then:

        def make(count: int) -> tuple[subprocess.Popen[str], list[int]]:
            words = [sys.executable, "-m", "tests.deployments.proxy.small_replica", str(count)]
            process = until_then.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            until_then.callback(process.kill)
            assert process.stdout is not None
            return process, [int(port) for port in process.stdout.readline().split()]

        yield make

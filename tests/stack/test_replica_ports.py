"""The replicas' ports for one another, where Ray itself reads pickles: none is read without Ray's token."""

import os
import pickle
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from ray.serve.generated import serve_pb2

from deployments.local.ray_environment import REPLICA_PORTS
from tests.conftest import RunningStack

pytestmark = pytest.mark.stack
METHOD = "/ray.serve.ASGIService/HandleRequest"
PATIENCE_S = 5.0


class Planted:
    """What runs when it is read as a pickle: it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def replica_ports(stack: RunningStack) -> set[int]:
    """All ports on which the replicas of this stack listen."""
    own = range(stack.settings.ports.replicas, stack.settings.ports.replicas + 2 * REPLICA_PORTS)
    found: set[int] = set()
    for process in psutil.process_iter(["cmdline"]):
        if not any("ServeReplica" in word for word in process.info["cmdline"] or ()):
            continue
        ports = {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        if ports & set(own):
            found |= ports
    return found


def send(port: int, mark: Path, token: str | None) -> grpc.StatusCode | None:
    """Send a pickle to a port as one replica sends another its questions. Returns how the port refused it."""
    request = serve_pb2.ASGIRequest(pickled_request_metadata=pickle.dumps(Planted(mark))).SerializeToString()
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(METHOD)(request, timeout=PATIENCE_S, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return None


def test_no_replica_reads_a_pickle_without_the_token(stack: RunningStack, tmp_path: Path) -> None:
    ports = replica_ports(stack)
    assert len(ports) >= 4
    for number, token in enumerate((None, "", "0" * 64)):
        refusals = {send(port, tmp_path / f"{number}-{port}", token) for port in ports}
        assert grpc.StatusCode.UNAUTHENTICATED in refusals, refusals
        assert None not in refusals
    assert list(tmp_path.iterdir()) == []
    # With it they do, as Ray means it: whoever has the token may run jobs anyway. So the ports were the right ones.
    token = stack.settings.token_path.read_text().strip()
    for port in ports:
        send(port, tmp_path / f"known-{port}", token)
    assert list(tmp_path.glob("known-*")) != []

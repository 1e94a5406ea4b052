"""A second Ray node that holds half of the replicas, and dies with them.

`python -m benchmarks.faults.second_node GCS PORT FOLDER` is that node: it joins the Ray whose address is GCS, as
127.0.0.2 with ports from PORT on, and stays until it is killed. Both nodes are on one machine, so the second one's
proxy finds its port taken, and clients come through the first one's.
"""

import contextlib
import os
import subprocess
import sys
import time

import psutil

from benchmarks.faults.stack import BrokenStack, kill, wait_for
from configs.settings import PROJECT_DIR
from deployments.local.probes import UnansweredError, ask_json
from deployments.local.ray_environment import client_environment, worker_port_range

FIRST_ADDRESS, ADDRESS = "127.0.0.1", "127.0.0.2"
MODULE = "benchmarks.faults.second_node"
PORTS = 400
"""Of the stack's range for workers, the last ones are the second node's."""
SPREAD_S = 180.0
LOOK_S = 2.0
REPLICATED = ("RankingDeployment", "Retrieval-champion", "IngestionDeployment", "ConsoleDeployment")


def join(stack: BrokenStack) -> None:
    """Start the node, and spread the replicas: one of each function on each node."""
    settings = stack.settings
    _, last = worker_port_range(settings)
    command = [sys.executable, "-m", MODULE, f"127.0.0.1:{settings.ports.gcs}", str(last - PORTS)]
    subprocess.Popen(
        [*command, str(settings.run_dir / "ray")],
        env={**stack.environment(), **client_environment(settings)},
        cwd=PROJECT_DIR,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(TimeoutError):  # then `die` says so
        wait_for(lambda: _spread_further(stack), SPREAD_S, "replicas of each function on both nodes")


def _spread_further(stack: BrokenStack) -> bool:
    """Whether each function has a replica on each node. Of those that have not, and are whole, one replica is killed:
    Serve starts the next one on either node."""
    found = _replicas(stack)
    there = {name for name in REPLICATED if {FIRST_ADDRESS, ADDRESS} <= {node for node, _ in found.get(name, [])}}
    for name in set(REPLICATED) - there:
        if len(found.get(name, [])) == 2:
            with contextlib.suppress(psutil.NoSuchProcess):  # Serve has yet to notice that it was killed
                kill([psutil.Process(found[name][0][1])])
    if len(there) < len(REPLICATED):
        time.sleep(LOOK_S)
    return len(there) == len(REPLICATED)


def die(stack: BrokenStack) -> str:
    """Kill everything of the node at once, and return when the first one has two replicas of each function again."""
    before = _replicas(stack)
    there = {name for name in REPLICATED if {FIRST_ADDRESS, ADDRESS} <= {node for node, _ in before.get(name, [])}}
    if missing := set(REPLICATED) - there:
        raise TimeoutError(f"not on both nodes: {', '.join(sorted(missing))}")
    nodes = [one for one in psutil.process_iter(["cmdline"]) if _is_node(one, stack)]
    kill([process for node in nodes for process in (node, *node.children(recursive=True))])
    begun = time.monotonic()

    def whole() -> bool:
        found = _replicas(stack)
        return all([node for node, _ in found.get(name, [])].count(FIRST_ADDRESS) >= 2 for name in REPLICATED)

    wait_for(whole, SPREAD_S, "two replicas of each function on the first node")
    return f"one of two replicas of {len(there)} functions; two again after {time.monotonic() - begun:.0f} s"


def _is_node(process: psutil.Process, stack: BrokenStack) -> bool:
    words = process.info["cmdline"] or []
    return MODULE in words and str(stack.settings.run_dir / "ray") in words


def _replicas(stack: BrokenStack) -> dict[str, list[tuple[str, int]]]:
    """Deployment -> node and process of each replica that runs."""
    endpoint = f"http://127.0.0.1:{stack.settings.ports.dashboard}/api/serve/applications/"
    found: dict[str, list[tuple[str, int]]] = {}
    with contextlib.suppress(UnansweredError):
        answer = ask_json(endpoint, stack.settings.token_path.read_text())
        for application in answer["applications"].values():
            for name, deployment in application["deployments"].items():
                running = [one for one in deployment["replicas"] if one["state"] == "RUNNING"]
                found[name] = [(one["node_ip"], one["pid"]) for one in running]
    return found


def main() -> None:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    gcs, first, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    # `ray start` joins no cluster whose head listens on loopback alone.
    node = RayParams(
        gcs_address=gcs,
        node_ip_address=ADDRESS,
        num_cpus=os.cpu_count(),
        object_store_memory=100_000_000,
        node_manager_port=first,
        object_manager_port=first + 1,
        runtime_env_agent_port=first + 2,
        metrics_agent_port=first + 3,
        dashboard_agent_listen_port=first + 4,
        metrics_export_port=first + 5,
        min_worker_port=first + 20,
        max_worker_port=first + PORTS - 1,
        temp_dir=folder,
    )
    Node(node, head=False, shutdown_at_exit=True)
    benchmark = os.getppid()
    while os.getppid() == benchmark:
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()

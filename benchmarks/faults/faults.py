"""The faults, and what is promised of each."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil

from benchmarks.faults import second_node
from benchmarks.faults.clock import HOUR_S, clock_set, start_with_own_clock
from benchmarks.faults.stack import BrokenStack, kill, wait_for
from benchmarks.faults.watching import Fault

PARTS_S = 30.0
"""Within this time a part that died is started again."""
PAUSE_S = 8.0
SOCKETS = 4200


def killed(*texts: str, back: Callable[[BrokenStack], bool] | None = None) -> Callable[[BrokenStack], str]:
    """Kills all processes whose command holds one of `texts`."""

    def break_it(stack: BrokenStack) -> str:
        found = stack.named(*texts)
        kill(found)
        if not found:
            raise TimeoutError(f"no process {texts[0]} to kill")
        if back is not None:
            wait_for(lambda: back(stack), 120, f"{texts[0]} again")
        return f"{len(found)} killed"

    return break_it


def replica_killed(deployment: str) -> Callable[[BrokenStack], str]:
    """Kills one replica of a deployment, and waits for the next."""

    def break_it(stack: BrokenStack) -> str:
        before = stack.replicas(deployment)
        if not before:
            raise TimeoutError(f"no replica of {deployment} to kill")
        kill(before[:1])
        known = {process.pid for process in before}
        wait_for(lambda: any(one.pid not in known for one in stack.replicas(deployment)), 120, f"a new {deployment}")
        return f"1 of {len(before)} killed"

    return break_it


@contextlib.contextmanager
def stopped(stack: BrokenStack, text: str) -> Iterator[None]:
    """A process that takes connections and answers nothing: what a network does that drops packets."""
    found = stack.named(text)
    if not found:
        raise TimeoutError(f"no process {text} to stop")
    for process in found:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            process.send_signal(signal.SIGCONT)


def store_away(stack: BrokenStack) -> str:
    with stopped(stack, "valkey-server"):
        time.sleep(PAUSE_S)
    return f"silent for {PAUSE_S:.0f} s"


def store_slow(stack: BrokenStack) -> str:
    """The store works for a fifth of the time."""
    until = time.monotonic() + PAUSE_S
    while time.monotonic() < until:
        with stopped(stack, "valkey-server"):
            time.sleep(0.08)
        time.sleep(0.02)
    return f"of every 100 ms 80 stopped, for {PAUSE_S:.0f} s"


def store_without_memory(stack: BrokenStack) -> str:
    """The system gives the store no more memory, and it ends as soon as it asks for some. The limit ends with it."""
    if not hasattr(psutil, "RLIMIT_AS"):
        return "left out: this system sets no limits for another process"
    [store] = stack.named("valkey-server")
    size = store.memory_info().vms
    store.rlimit(psutil.RLIMIT_AS, (size, size))
    wait_for(lambda: not _runs(store), 60, "the end of a store that gets no more memory")
    return f"limited to the {size / 1e6:,.0f} MB of address space that it had"


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def connections_cut(stack: BrokenStack) -> str:
    if shutil.which("ss") is None:
        return "left out: there is no ss"
    for _ in range(10):
        command = ["ss", "-K", "sport", "=", f":{stack.settings.ports.store}"]
        subprocess.run(command, capture_output=True, check=False)
        time.sleep(0.3)
    return "10 times within 3 s"


def power_lost(stack: BrokenStack) -> str:
    """All processes end at one moment; then a person types `make up`."""
    stack.more = {}  # the next start has the machine's clock again
    found = stack.processes()
    kill(found)
    begun = time.monotonic()
    done = stack.command("up")
    if done.returncode != 0:
        raise TimeoutError(f"`make up` failed: {done.stderr[-500:]}")
    return f"{len(found)} processes killed; `make up` took {time.monotonic() - begun:.0f} s"


def stopped_in_order(stack: BrokenStack) -> str:
    """`make down` and `make up` while clients go on."""
    begun = time.monotonic()
    for word in ("down", "up"):
        done = stack.command(word)
        if done.returncode != 0:
            raise TimeoutError(f"`make {word}` failed: {done.stderr[-500:]}")
    return f"both took {time.monotonic() - begun:.0f} s"


def second_up(stack: BrokenStack) -> str:
    """Another `make up` on the same state folder, while the first runs, and two at once."""
    before = {process.pid for process in stack.processes()}
    codes: list[int] = []
    ups = [threading.Thread(target=lambda: codes.append(stack.command("up").returncode)) for _ in range(2)]
    for up in ups:
        up.start()
    for up in ups:
        up.join()
    gone = before - {process.pid for process in stack.processes()}
    return f"exit codes {sorted(codes)}, {len(gone)} processes ended"


def disk_full(stack: BrokenStack) -> str:
    """A file takes all that is left of the state folder's disk, and goes after some seconds."""
    place = stack.settings.state_dir / "filler"
    free = shutil.disk_usage(stack.settings.state_dir).free
    if free > 8_000_000_000:
        return "left out: the state folder is not on a disk of its own"
    try:
        with contextlib.suppress(OSError), place.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - 20_000_000)
        time.sleep(PAUSE_S)
    finally:
        place.unlink(missing_ok=True)
    return f"20 MB left for {PAUSE_S:.0f} s"


def slow_sockets(stack: BrokenStack) -> str:
    """Thousands of connections with half a request head, held open."""
    address = ("127.0.0.1", stack.settings.ports.http)
    held: list[socket.socket] = []
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < PAUSE_S:
            while len(held) < SOCKETS:
                with contextlib.suppress(OSError):
                    connection = socket.create_connection(address, timeout=2)
                    connection.sendall(b"POST /api/v1/recommend HTTP/1.1\r\nhost: localhost\r\n")
                    held.append(connection)
            time.sleep(0.2)
        live = httpx.get(f"{stack.url}/health/live", timeout=5, trust_env=False).status_code
    except httpx.HTTPError as error:
        live = type(error).__name__  # type: ignore[assignment]
    finally:
        for connection in held:
            connection.close()
    return f"{SOCKETS} half heads; /health/live: {live}"


def retraining_killed(stack: BrokenStack) -> str:
    """The processes of a retraining are killed at three moments, and one is let through."""
    champion = _champion(stack)
    for moment_s in (0.5, 2.5, 5.0):
        job = stack.job("jobs.submit", "--wait", "--", "python", "-m", "jobs.retrain", "--trials", "1")
        wait_for(lambda: bool(stack.named("jobs.retrain", "jobs.train")), 60, "a retraining")
        time.sleep(moment_s)
        kill([one for one in stack.named("jobs.retrain", "jobs.train") if one.pid != job.pid])
        job.communicate(timeout=120)
        if _champion(stack) != champion:
            raise TimeoutError("a killed retraining moved the champion")
    done = stack.job("jobs.submit", "--wait", "--", "python", "-m", "jobs.retrain", "--trials", "1")
    output, _ = done.communicate(timeout=300)
    if done.returncode != 0:
        raise TimeoutError(f"the retraining after the kills failed: {output[-500:]}")
    return "killed 3 times, the fourth ended well"


def promoted_during_a_kill(stack: BrokenStack) -> str:
    """The champion changes to another version and back while a ranking replica dies."""
    with httpx.Client(base_url=stack.url, timeout=20, trust_env=False) as http:
        champion = _champion(stack)
        versions = [one["version"] for one in http.get("/api/v1/models").json()["models"]]
        other = next((one for one in versions if one != champion), None)
        if other is None:
            return "left out: there is one model only"
        killing = threading.Thread(target=replica_killed("RankingDeployment"), args=(stack,))
        killing.start()
        http.post(f"/api/v1/models/{other}/promote").raise_for_status()
        killing.join()
        http.post(f"/api/v1/models/{champion}/promote").raise_for_status()
    wait_for(lambda: _champion(stack) == champion, 30, "the first champion again")
    return f"{other} and back"


def _champion(stack: BrokenStack) -> str:
    answer = httpx.get(f"{stack.url}/api/v1/models", timeout=20, trust_env=False).raise_for_status()
    return str(answer.json()["slots"]["champion"]["version"])


def _part_runs(stack: BrokenStack, name: str) -> bool:
    path = Path(stack.settings.state_dir / "run" / f"{name}.json")
    return path.exists() and bool(stack.named("mlflow"))


# Four replicas start at once on the cores that both nodes share here, and the store waits for one of these too. Other
# systems than Linux have no second loopback address.
SECOND_NODE = Fault(
    "a node with half of the replicas dies",
    f"no list fails; events are taken again within {PARTS_S:.0f} s",
    *(second_node.die, 0, PARTS_S),
    prepare=second_node.join,
)


def faults(pairs: bool) -> list[Fault]:
    """All faults, those that end everything last.

    Args:
        pairs: whether each function has two replicas (the production profile).
    """
    replica_s = 0.0 if pairs else 10.0
    promise = "no request fails" if pairs else "lists and events again within 10 s"
    return [
        Fault("a ranking replica is killed", promise, replica_killed("RankingDeployment"), replica_s, replica_s),
        Fault("a retrieval replica is killed", promise, replica_killed("Retrieval-champion"), replica_s, 0),
        Fault("an ingestion replica is killed", promise, replica_killed("IngestionDeployment"), 0, replica_s),
        Fault("the console is killed", "lists and events do not notice", replica_killed("ConsoleDeployment"), 0, 0),
        Fault("the autopilot is killed", "lists and events do not notice", replica_killed("AutopilotDeployment"), 0, 0),
        Fault(
            "the proxy is killed",
            "again within 2 s; until then connections are refused",
            killed("haproxy"),
            2,
            2,
            unanswered=True,
        ),
        Fault(
            "MLflow is killed",
            "lists and events do not notice; it is started again",
            killed("mlflow", back=lambda stack: _part_runs(stack, "mlflow")),
            0,
            0,
        ),
        Fault(
            "the store is silent, as behind a network that drops packets",
            "lists go on without what is new of a user; events are refused, and taken within 5 s of its return",
            store_away,
            PAUSE_S + 5,
            PAUSE_S + 5,
        ),
        Fault("the store is slow", "answers within the deadline", store_slow, PAUSE_S + 5, PAUSE_S + 5),
        Fault("all connections to the store are cut", "at most 5 s of refusals", connections_cut, 5 + 3, 5 + 3),
        Fault(
            "the disk is full",
            "lists go on; events are refused before the store dies, and taken when there is room",
            disk_full,
            PAUSE_S + 5,
            PAUSE_S + 5,
        ),
        Fault("4,200 sockets with half a request", "others are served", slow_sockets, 0, 0),
        Fault("a retraining is killed", "the champion stays; the next retraining runs", retraining_killed, 0, 0),
        Fault(
            "a promotion while a ranking replica dies",
            "one version after the other, and none else",
            promoted_during_a_kill,
            replica_s,
            replica_s,
        ),
        *([SECOND_NODE] if pairs and sys.platform.startswith("linux") else []),
        Fault("a second `make up` on the same folder", "the first goes on", second_up, 0, 0),
        Fault(
            "the store is killed",
            f"started again within {PARTS_S:.0f} s; lists go on meanwhile without what is new of a user",
            killed("valkey-server"),
            PARTS_S,
            PARTS_S,
        ),
        Fault(
            "the store gets no more memory",
            f"started again within {PARTS_S:.0f} s; lists go on meanwhile without what is new of a user",
            store_without_memory,
            PARTS_S,
            PARTS_S,
        ),
        Fault(
            "Ray's head is killed",
            f"started again within {PARTS_S:.0f} s",
            killed("gcs_server"),
            PARTS_S,
            PARTS_S,
            unanswered=True,
        ),
        Fault(
            "`make down` and `make up` under load",
            "503 in the one form of errors, then refused connections, then all is well",
            stopped_in_order,
            180,
            180,
            unanswered=True,
        ),
        *(
            Fault(
                f"the clock is set {words} and right again",
                "lists and events go on; what happens too far ahead of the clock is refused; no retraining starts",
                clock_set(offset_s),
                0,
                0,
                prepare=start_with_own_clock,
            )
            for words, offset_s in (("an hour back", -HOUR_S), ("half a day ahead", 12 * HOUR_S))
        ),
        Fault(
            "everything is killed at once, as when the power goes",
            "`make up` brings it back with all that was acknowledged",
            power_lost,
            180,
            180,
            unanswered=True,
        ),
    ]

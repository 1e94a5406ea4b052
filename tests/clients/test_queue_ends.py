"""What becomes of the events of the Python client's queues when a program ends or forks."""

import multiprocessing
import socket
import subprocess
import sys
from typing import Any

import pytest
from raycommend_client import Client, EventQueue, QueueOptions

from configs.settings import PROJECT_DIR
from tests.clients.conftest import QUICK
from tests.clients.faulty import Api
from tests.clients.test_event_queue import SLOW, batches, counted

PROGRAM = """
import sys
from raycommend_client import Client, EventQueue, QueueOptions, Retry

def left(events):
    print("left", [event.event_id for event in events], flush=True)

client = Client(sys.argv[1], timeout_s=2)
queue = EventQueue(client, QueueOptions(flush_every_s=3600, exit_timeout_s=float(sys.argv[2]), on_undelivered=left))
for item in range(1, 4):
    queue.put("exit", item, "click", event_id=f"x{item}")
"""


def program(url: str, exit_timeout_s: float) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, url, str(exit_timeout_s)],
        env={"PYTHONPATH": str(PROJECT_DIR / "clients/python/src")},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


def test_the_end_of_a_program_sends_what_waits(api: Api) -> None:
    done = program(api.url, 20)
    assert (done.stdout, done.stderr) == ("", "")
    assert counted(api, "exit") == {"click": 3}


def test_the_end_of_a_program_names_what_it_could_not_send() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        done = program(f"http://127.0.0.1:{nobody.getsockname()[1]}", 0.3)
    assert done.stdout == "left ['x1', 'x2', 'x3']\n"
    assert "these events have not reached the server: x1, x2, x3" in done.stderr


def in_child(user: str, queue: EventQueue, answers: Any) -> None:
    queue.put(user, 2, "click")
    queue.close()
    answers.put("done")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_sends_its_own_events_over_its_own_connections(api: Api, user: str) -> None:
    """As servers do that load the application first and fork their workers then."""
    with Client(api.url, retry=QUICK) as client:
        queue = EventQueue(client, QueueOptions(flush_every_s=SLOW))
        client.recommend(user)
        queue.put(user, 1, "click")
        forking = multiprocessing.get_context("fork")
        answers = forking.Queue()
        child = forking.Process(target=in_child, args=(user, queue, answers))
        child.start()
        assert answers.get(timeout=30) == "done"
        child.join(30)
        assert [len(batch) for batch in batches(api)] == [1]
        of_parent, of_child = (request.port for request in api.faults.seen)
        assert of_parent != of_child
        queue.close()
    assert counted(api, user) == {"click": 2}


def test_an_asyncio_queue_that_nobody_closed_says_so() -> None:
    text = PROGRAM.replace("Client(", "AsyncClient(").replace("import Client", "import AsyncClient")
    text = text.replace("EventQueue", "AsyncEventQueue").replace("import sys", "import asyncio, sys")
    head, loop = text.split("for item")
    loop = loop.replace("    queue.put", "        await queue.put")
    body = f"async def main():\n    for item{loop}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{head}{body}\nasyncio.run(main())\n", "http://127.0.0.1:1", "1"],
        env={"PYTHONPATH": str(PROJECT_DIR / "clients/python/src")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "left ['x1', 'x2', 'x3']\n", done.stderr

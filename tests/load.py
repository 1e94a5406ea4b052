"""Clients that ask without a pause. Every answer is judged, and what no client should get is kept."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from benchmarks.faults.clients import Crowd
from tests.waiting import wait_for

PAUSE_S = 0.02
"""Between the requests of a client while replicas start: without it, they would take the time that a start needs."""
ATTEMPTS = 5
USERS = 943
PLACES = 10


class Ask(NamedTuple):
    """One request: a POST where it has a body. `again`: sent again where no answer comes, under the same headers."""

    path: str
    body: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    again: bool = False


def lists(client: int, number: int) -> Ask:
    """The list of another user each time."""
    return Ask("/api/v1/recommend", {"user_id": (client * 997 + number * 31) % USERS + 1})


def events(client: int, number: int) -> Ask:
    """A click without an event_id on another item each time."""
    body = {"user_id": user_of(client), "item_id": number + 1, "event_type": "click"}
    return Ask("/api/v1/events", body, {"x-request-id": f"{client}-{number}"}, again=True)


def user_of(client: int) -> str:
    """The user whose `events` a client sends."""
    return f"load-{client}"


def items(client: int, number: int) -> Ask:
    """The page of another item each time."""
    return Ask(f"/api/v1/items/{number % 1000 + 1}")


class Load(Crowd):
    """Clients, each a thread with a connection of its own; a context manager.

    Args:
        url: of the API.
        asks: what a client asks for the n-th time, from 0.
        clients: how many.
        keep_alive: else every request has a connection of its own.
        pause_s: between the requests of a client.
        while_it_ends: a stack that goes down may refuse connections, and give a temporary error in the common form that
            says when to come again.

    Attributes:
        failures: what no client should get.
        answers: how many were right.
        statuses: of all answers.
        refused: connections, `while_it_ends`.
        versions: lists by model version, and `latest`, the version of the last one.
        degraded: lists made without some part.
        longest_s: the longest time between two right answers to one client.
        acknowledged: events of each client; `unknown` are those without an answer.
    """

    def __init__(
        self,
        url: str,
        asks: Callable[[int, int], Ask] = lists,
        clients: int = 6,
        keep_alive: bool = True,
        pause_s: float = 0.0,
        while_it_ends: bool = False,
    ) -> None:
        super().__init__([threading.Thread(target=self._run, args=(number,)) for number in range(clients)])
        self._url, self._asks, self._pause_s, self._while_it_ends = url, asks, pause_s, while_it_ends
        self._limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        self._lock = threading.Lock()
        self.failures: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.latest = ""
        self.acknowledged: Counter[int] = Counter()
        self.unknown: Counter[int] = Counter()
        self.answers = self.degraded = self.refused = 0
        self.longest_s = 0.0

    def goes_on(self, answers: int = 30) -> None:
        """Wait for so many more right answers."""
        wanted = self.answers + answers
        wait_for(lambda: self.answers >= wanted)

    def wait_for_replicas(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Until replicas have started. Meanwhile the clients pause between their requests."""
        before, self._pause_s = self._pause_s, PAUSE_S
        wait_for(condition, seconds)
        self._pause_s = before

    def _run(self, client: int) -> None:
        number, last = 0, time.monotonic()
        with httpx.Client(base_url=self._url, timeout=20, limits=self._limits, trust_env=False) as http:
            while not self._stop.is_set():
                ask = self._asks(client, number)
                number += 1
                try:
                    answer = self._answer(http, ask)
                except httpx.HTTPError as error:
                    self._record_error(client, ask, error)
                else:
                    if self._record(client, ask, answer):
                        now = time.monotonic()
                        self.longest_s, last = max(self.longest_s, now - last), now
                self._stop.wait(self._pause_s)

    def _answer(self, http: httpx.Client, ask: Ask) -> httpx.Response:
        """An event is sent again, as a client does, under the same request id: for some seconds after replicas came or
        went, an open connection may still hang on the HAProxy before the reload, which knows no other replica.
        """
        for _ in range(ATTEMPTS - 1 if ask.again else 0):
            try:
                return self._once(http, ask)
            except httpx.TransportError:
                continue
        return self._once(http, ask)

    @staticmethod
    def _once(http: httpx.Client, ask: Ask) -> httpx.Response:
        return http.request("GET" if ask.body is None else "POST", ask.path, json=ask.body, headers=ask.headers)

    def _record_error(self, client: int, ask: Ask, error: httpx.HTTPError) -> None:
        if self._while_it_ends and isinstance(error, httpx.ConnectError):
            with self._lock:
                self.refused += 1
            self._stop.wait(0.05)
            return
        with self._lock:
            self.failures.append(f"{ask.path}: {error!r}")
            self.unknown[client] += 1

    def _record(self, client: int, ask: Ask, answer: httpx.Response) -> bool:
        """Whether the answer is right."""
        with self._lock:
            self.statuses[answer.status_code] += 1
            if answer.status_code != 200:
                self.unknown[client] += 1
                if not (self._while_it_ends and _is_temporary(answer)):
                    self.failures.append(f"{ask.path}: {answer.status_code} {answer.headers} {answer.text}")
                return False
            self.answers += 1
            self.acknowledged[client] += 1
            if ask.path.endswith("/recommend"):
                content = answer.json()
                self.latest = content["model_version"]
                self.versions[self.latest] += 1
                self.degraded += content["degraded"]
                if len(content["recommendations"]) != PLACES:
                    self.failures.append(answer.text)
            return True


def _is_temporary(answer: httpx.Response) -> bool:
    is_ours = answer.headers["content-type"] == "application/json" and "code" in answer.json()["error"]
    return is_ours and answer.status_code in (503, 504) and "retry-after" in answer.headers

"""Clients that ask for lists or send events without a pause, and keep a record of every answer."""

import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

TIMEOUT_S = 15.0
BATCH = 50
USERS_OF_A_CLIENT = 20
RETRY_S = 0.05
TEMPORARY = (429, 503, 504)


@dataclass
class Records:
    """What the clients of one fault saw. All of it is guarded by `lock`.

    Attributes:
        lists: lists that came, at the moments `list_times` (seconds of `time.monotonic`).
        failed: answers other than a list, and broken connections, by "STATUS CODE" or the error's name.
        last_failure: when the latest of these ended.
        refused: the same for events; each was sent again until it was acknowledged.
        last_refusal: when the latest of these ended.
        undocumented: answers that no page of the documentation names, at most 20 of them.
        acknowledged: ids of events that were answered with 200.
        unknown: ids of events whose client stopped before an answer came.
        versions: lists by model version.
        variants: user -> variants of the running experiment.
    """

    lists: int = 0
    list_times: list[float] = field(default_factory=list)
    slowest_s: float = 0.0
    degraded: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    last_failure: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    last_refusal: float = 0.0
    undocumented: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    versions: Counter[str] = field(default_factory=Counter)
    variants: dict[int | str, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Crowd:
    """Threads that work from entering to leaving; a context manager. Each looks at `_stop` and ends when it is set."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        self._stop = threading.Event()
        self._threads = threads

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Clients(Crowd):
    """Clients of one fault, each a thread with a connection of its own; a context manager.

    Args:
        url: of the API.
        tag: starts every event and user id, so that what is found later can be told from other faults' events.
        users, items: ids that the data set knows.
        lists, events: how many clients ask, and how many send.
    """

    def __init__(
        self, url: str, tag: str, users: list[int | str], items: list[int | str], lists: int = 4, events: int = 3
    ) -> None:
        self.records = Records()
        self._url, self._tag, self._users, self._items = url, tag, users, items
        asking = [threading.Thread(target=self._ask, args=(number,)) for number in range(lists)]
        sending = [threading.Thread(target=self._send, args=(number,)) for number in range(events)]
        super().__init__([*asking, *sending])

    def _ask(self, client: int) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S, trust_env=False) as http:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                user = self._users[(client * 131 + number * 17) % len(self._users)]
                begun = time.monotonic()
                answer, outcome = _post(http, "/api/v1/recommend", {"user_id": user})
                with self.records.lock:
                    self._record_list(user, begun, answer, outcome)
                if answer is None or answer.status_code != 200:
                    self._stop.wait(RETRY_S)

    def _record_list(self, user: int | str, begun: float, answer: httpx.Response | None, outcome: str) -> None:
        records, now = self.records, time.monotonic()
        records.slowest_s = max(records.slowest_s, now - begun)
        if answer is None or answer.status_code != 200:
            records.failed[outcome] += 1
            records.last_failure = now
            self._record_undocumented(answer)
            return
        content = answer.json()
        records.lists += 1
        records.list_times.append(now)
        records.degraded += bool(content["degraded"])
        records.versions[content["model_version"]] += 1
        if content["variant"] is not None:
            records.variants.setdefault(user, set()).add(content["variant"])
        if len(content["recommendations"]) != 10 and len(records.undocumented) < 20:
            records.undocumented.append(f"{len(content['recommendations'])} items for user {user}")

    def _send(self, client: int) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S, trust_env=False) as http:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                self._until_acknowledged(http, self._events(client, number))

    def _events(self, client: int, number: int) -> list[dict[str, Any]]:
        """One event, and the next time a batch."""
        user = f"{self._tag}-{client}-{number % USERS_OF_A_CLIENT}"
        return [
            {
                "event_id": f"{self._tag}-{client}-{number}-{part}",
                "user_id": user,
                "item_id": self._items[(number * BATCH + part) % len(self._items)],
                "event_type": "click",
            }
            for part in range(1 if number % 2 else BATCH)
        ]

    def _until_acknowledged(self, http: httpx.Client, events: list[dict[str, Any]]) -> None:
        while events:
            if len(events) == 1:
                answer, outcome = _post(http, "/api/v1/events", events[0])
            else:
                answer, outcome = _post(http, "/api/v1/events/batch", {"events": events})
            with self.records.lock:
                left = self._record_events(events, answer, outcome)
            if left and self._stop.wait(RETRY_S):
                with self.records.lock:
                    self.records.unknown.update(event["event_id"] for event in left)
                return
            events = left

    def _record_events(
        self, events: list[dict[str, Any]], answer: httpx.Response | None, outcome: str
    ) -> list[dict[str, Any]]:
        """Note what was answered. Returns the events that are to be sent again."""
        if answer is None or answer.status_code != 200:
            self.records.refused[outcome] += len(events)
            self.records.last_refusal = time.monotonic()
            self._record_undocumented(answer)
            return events
        results = [answer.json()] if len(events) == 1 else answer.json()["results"]
        taken = [result["status"] == "accepted" for result in results]
        self.records.acknowledged.update(event["event_id"] for event, ok in zip(events, taken, strict=True) if ok)
        left = [event for event, ok in zip(events, taken, strict=True) if not ok]
        if left:
            self.records.refused["refused in a batch"] += len(left)
            self.records.last_refusal = time.monotonic()
        return left

    def _record_undocumented(self, answer: httpx.Response | None) -> None:
        """An answer is documented if its status is a temporary one and its body has the one form of errors."""
        if answer is None:
            return
        try:
            error = answer.json()["error"]
            known = answer.status_code in TEMPORARY and {"code", "message"} <= error.keys()
        except (ValueError, KeyError, TypeError, AttributeError):
            known = False
        if known and answer.status_code == 503 and "retry-after" not in answer.headers:
            known = False
        if not known and len(self.records.undocumented) < 20:
            self.records.undocumented.append(f"{answer.status_code} {answer.text[:200]}")


def _post(http: httpx.Client, path: str, body: dict[str, Any]) -> tuple[httpx.Response | None, str]:
    """The answer, None when none came; and what it was in a few words."""
    try:
        answer = http.post(path, json=body)
    except httpx.HTTPError as error:
        return None, type(error).__name__
    if answer.status_code == 200:
        return answer, "200"
    try:
        return answer, f"{answer.status_code} {json.loads(answer.content)['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return answer, f"{answer.status_code} in another form"

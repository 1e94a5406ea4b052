"""Watches the parts of the local stack and starts again what died or hangs: `python -m deployments.local watch`.

It looks twice a second whether the processes live, and every few seconds whether they answer and Ray Serve still has
the applications; more often while one is away. The parts are looked at in the order of starting; the applications only
while Ray answers. What it sees and does stands in its log and in its report (`configs.supervision`), which
`make status`, `/health` and autopilot's alerts show.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.supervision import FILE_NAME, Restart, Supervision, Trouble, read_supervision
from deployments.local.alarm import Alarm
from deployments.local.folder_lock import SUPERVISOR, FolderInUseError, changing
from deployments.local.part_watch import Answer, PartWatch
from deployments.local.private_file import write_private
from deployments.local.probes import UnansweredError, store_greeting
from deployments.local.stack import LocalStack
from deployments.local.stack_parts import StartError

LOOK_S = 0.5
QUICK_LOOK_S = 0.2
"""The same while a part is away, which somebody waits for."""
FIRST_WAIT_S = 0.2
ASK_S = 5.0
"""How often a part that works is asked. One that does not is asked at each look."""
KEPT = 50
LOG_LINES = 15
SERVE = "serve"


@dataclass
class WatchedPart:
    """A part as the supervisor sees it."""

    watch: PartWatch
    identity: Callable[[], str | None]
    """Of its process, another one for each process; None where there is none."""
    answer: Callable[[], Answer]
    start: Callable[[], None]
    log: Callable[[], Path | None]
    ask_s: float = ASK_S
    look_s: float = 0.0
    """How often it is looked at while it works, where a look costs more than one at a process."""
    looked: float = -math.inf
    asked: float = -math.inf
    known: tuple[str | None, Answer] = (None, "no")

    def look(self, now: float) -> bool:
        """Look at it, and ask it if it is time; whether to start it now."""
        if self.known[1] == "yes" and now - self.looked < self.look_s:
            return self.watch.look(now, *self.known)
        self.looked = now
        identity = self.identity()
        if identity is None:
            self.known = (None, "no")
        elif self.known != (identity, "yes") or now - self.asked >= self.ask_s:
            self.known, self.asked = (identity, self.answer()), now
        return self.watch.look(now, *self.known)


class Supervisor:
    """Starts parts again until it is told to end.

    Args:
        parts: in the order of starting.
        state_dir: of the stack: its lock, and where the report goes.
        alarm: tells a person of what lasts.
        say: writes a line into the log.
        on_look: called after each look.
        clock: seconds of a clock that is never set.
    """

    def __init__(
        self,
        parts: list[WatchedPart],
        state_dir: Path,
        alarm: Alarm,
        say: Callable[[str], None],
        on_look: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._state_dir = state_dir
        self._alarm = alarm
        self._say = say
        self._on_look = on_look
        self._clock = clock
        self._ended = threading.Event()
        before = read_supervision(state_dir)
        now_ms = int(time.time() * 1000)
        self.report = Supervision(
            pid=os.getpid(),
            since_ms=now_ms,
            restarts=before.restarts if before else 0,
            latest=before.latest if before else [],
        )
        self._written: Supervision | None = None

    def run(self) -> None:
        """Look until `SIGTERM` or `SIGINT` comes. What is being done then is done to its end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        self._say(f"watching {', '.join(part.watch.name for part in self._parts)} (pid {os.getpid()})")
        while not self._ended.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whoever watches over the others must not die of one of them
                self._say(f"a look failed, trying on: {error!r}")
            self._on_look()
            away = any(part.watch.away_since is not None for part in self._parts)
            self._ended.wait(QUICK_LOOK_S if away else LOOK_S)
        self._say("ended")

    def look(self) -> None:
        """Look at every part, start what is due, and report."""
        for part in self._parts:
            if self._ended.is_set():
                return
            if part.watch.name == SERVE and self._away("store", "ray"):
                part.looked = -math.inf
                continue  # Without these the applications cannot be ready, which is no fault of theirs.
            away_since = part.watch.away_since
            due = part.look(self._clock())
            if away_since is None and part.watch.away_since is not None:
                self._say(f"{part.watch.name} {part.watch.why}{_quoted(_log_end(part))}")
            elif away_since is not None and part.watch.away_since is None:
                self._works_again(part.watch, away_since)
            if due:
                self._start(part)
            self._write()
        self._alarm.look(self.report.troubles, self._clock())

    def _away(self, *names: str) -> bool:
        return any(part.watch.name in names and part.watch.away_since is not None for part in self._parts)

    def _start(self, part: WatchedPart) -> None:
        watch = part.watch
        try:
            with changing(self._state_dir, SUPERVISOR, patience_s=0):
                # The first end has told its log already.
                end = _quoted(_log_end(part)) if watch.tries else ""
                self._say(f"{watch.name}: starting it again, try {watch.tries + 1}{end}")
                watch.started(self._clock())
                part.start()
        except FolderInUseError:
            return  # A command is at work, which starts or stops parts itself.
        except (OSError, StartError, UnansweredError) as error:
            self._say(f"{watch.name}: could not be started: {error}")

    def _works_again(self, watch: PartWatch, away_since: float) -> None:
        away_s = self._clock() - away_since
        if watch.tries == 0:
            self._say(f"{watch.name} works again after {away_s:.1f} s; nothing was done")
            return
        restart = Restart(
            part=watch.name,
            time_ms=int(time.time() * 1000),
            why=watch.why,
            tries=watch.tries,
            away_s=round(away_s, 1),
        )
        self._say(restart.text)
        latest = [*self.report.latest, restart][-KEPT:]
        self.report = self.report.model_copy(update={"restarts": self.report.restarts + 1, "latest": latest})

    def _write(self) -> None:
        """Write the report where it has changed, and touch it where it has not: whoever reads it sees that we live."""
        now = self._clock()
        known = self.report.troubles
        troubles = {
            part.watch.name: _trouble(part, known.get(part.watch.name), now)
            for part in self._parts
            if part.watch.away_since is not None
        }
        self.report = self.report.model_copy(update={"troubles": troubles})
        file = self._state_dir / FILE_NAME
        try:
            if self.report == self._written:
                os.utime(file)
            else:
                write_private(file, self.report.model_dump_json(exclude={"beat_ms"}, indent=1) + "\n")
                self._written = self.report
        except OSError as error:
            if self._written is not None:
                self._say(f"the report cannot be written: {error}")
            self._written = None


def _trouble(part: WatchedPart, known: Trouble | None, now: float) -> Trouble:
    watch = part.watch
    assert watch.away_since is not None
    wait_s = watch.wait_s(now)
    if wait_s is None:
        plan = f"try {watch.tries} is under way"
    else:
        plan = f"it is started again within {_round_up(wait_s)} s" if watch.tries == 0 else (
            f"{watch.tries} starts did not help, the next comes within {_round_up(wait_s)} s"
        )  # fmt: skip
    same = known is not None and known.tries == watch.tries
    return Trouble(
        since_ms=known.since_ms if known else int((time.time() - (now - watch.away_since)) * 1000),
        tries=watch.tries,
        text=f"{watch.name} {watch.why}: {plan}",
        log_end=known.log_end if same and known is not None else _log_end(part),
    )


def _round_up(seconds: float) -> int:
    """In steps that keep the report from changing at each look."""
    return next((step for step in (1, 5, 15, 30) if seconds <= step), 60)


def _log_end(part: WatchedPart) -> str:
    log = part.log()
    if log is None:
        return ""
    with contextlib.suppress(OSError), log.open(errors="replace") as file:
        return "".join(line[:500] for line in deque(file, LOG_LINES)).rstrip()
    return ""


def _quoted(log_end: str) -> str:
    return f"; the end of its log:\n  | {log_end.replace(chr(10), chr(10) + '  | ')}" if log_end else ""


def watched_parts(stack: LocalStack) -> list[WatchedPart]:
    """The parts of a stack, as the supervisor watches them. Raises `NoServerError`."""
    found = []
    for part in stack.parts():
        silent_s = {"store": 30.0}.get(part.name, 60.0)
        found.append(
            WatchedPart(
                PartWatch(part.name, silent_s, part.start_s, FIRST_WAIT_S),
                identity=_process_of(stack, part.name),
                answer=_answer_of(stack, part.name, part.ready),
                start=lambda name=part.name: stack.start_again(name),  # type: ignore[misc]
                log=lambda name=part.name: stack.state_dir / "logs" / f"{name}.log",  # type: ignore[misc]
            )
        )
    serve = stack.serve
    found.append(
        WatchedPart(
            PartWatch(
                SERVE, silent_s=180.0, start_s=180.0, first_wait_s=FIRST_WAIT_S, ended="had lost its applications"
            ),
            identity=serve.identity,
            answer=lambda: "yes" if serve.runs() else "no",
            start=serve.restore,
            log=lambda: None,
            ask_s=2 * ASK_S,
            look_s=ASK_S,  # Ray's controller makes a page of all applications and replicas for it.
        )
    )
    return found


def _process_of(stack: LocalStack, name: str) -> Callable[[], str | None]:
    def identity() -> str | None:
        record = stack.records().get(name)
        return record.mark if record is not None and record.alive() else None

    return identity


def _answer_of(stack: LocalStack, name: str, ready: Callable[[], bool]) -> Callable[[], Answer]:
    def store() -> Answer:
        greeting = store_greeting(stack.settings)
        if greeting.startswith(b"+PONG"):
            return "yes"
        return "busy" if greeting else "no"  # It loads its data (-LOADING), or runs a long script (-BUSY).

    def ray() -> Answer:
        if ready():
            return "yes"
        # A busy dashboard is no reason to end what answers lists.
        return "busy" if stack.serve.live() else "no"

    if name == "store":
        return store
    return ray if name == "ray" else lambda: "yes" if ready() else "no"

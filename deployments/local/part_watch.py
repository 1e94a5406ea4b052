"""When a part is to be started again: what was seen of it -> wait, or start. It starts nothing itself."""

from typing import Literal

Answer = Literal["yes", "busy", "no"]
"""What a part that lives says: it works; it is occupied, as a store that loads its data is; nothing."""
LONGEST_WAIT_S = 60.0
CALM_S = 60.0
"""Once a part has worked for this long, an end counts as its first again."""


class PartWatch:
    """Watches one part. It never gives up: the waits between two starts double, up to a minute.

    Args:
        name: of the part.
        silent_s: how long a part that has worked may be silent before it counts as hung.
        start_s: the same after a start.
        first_wait_s: the wait before the first start.
        ended: what is said of one without a process, as the rest of a sentence.

    Attributes:
        tries: how many starts it took since it last worked.
        away_since: when it stopped working, by the clock of the caller; None while it works.
        why: how it stopped working, as the rest of a sentence.
    """

    def __init__(
        self, name: str, silent_s: float, start_s: float, first_wait_s: float = 1.0, ended: str = "ended by itself"
    ) -> None:
        self.name = name
        self.tries = 0
        self.away_since: float | None = None
        self.why = ""
        self._silent_s, self._start_s, self._first_wait_s, self._ended = silent_s, start_s, first_wait_s, ended
        self._limit_s = silent_s
        self._failures = 0
        self._identity: str | None = None
        self._due: float | None = None
        self._silent_since: float | None = None
        self._works_since: float | None = None

    def look(self, now: float, identity: str | None, answer: Answer) -> bool:
        """Take in what was seen; whether to start the part now.

        Args:
            now: seconds of a clock that is never set.
            identity: of the process, another one for each process; None where there is none.
            answer: what it says; of no meaning without a process.
        """
        if identity is not None and identity != self._identity:
            self._begun(now)
        self._identity = identity
        if identity is not None and answer == "yes":
            self._works(now)
            return False
        self._works_since = None
        if identity is not None and answer == "busy":
            self._silent_since = self._due = None
            return False
        if identity is None:
            self._fails(now, now, self._ended)
        else:
            if self._silent_since is None:
                self._silent_since = now
            if now - self._silent_since >= self._limit_s:
                self._fails(now, self._silent_since, f"did not answer for {self._limit_s:.0f} s")
        return self._due is not None and now >= self._due

    def started(self, now: float) -> None:
        """Take in that a start was tried."""
        self.tries += 1
        self._failures += 1
        self._begun(now)

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next start; None where none is to come."""
        return None if self._due is None else max(0.0, self._due - now)

    def _begun(self, now: float) -> None:
        self._due, self._silent_since, self._limit_s = None, now, self._start_s

    def _works(self, now: float) -> None:
        self._due = self._silent_since = self.away_since = None
        self._limit_s = self._silent_s
        if self._works_since is None:
            self._works_since = now
        if now - self._works_since >= CALM_S:
            self._failures = 0

    def _fails(self, now: float, since: float, why: str) -> None:
        if self.away_since is None:
            self.away_since, self.why, self.tries = since, why, 0
        if self._due is None:
            self._due = now + min(LONGEST_WAIT_S, self._first_wait_s * 2 ** min(self._failures, 10))

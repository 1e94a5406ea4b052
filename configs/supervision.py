"""What the supervisor of a local stack tells: a file in the state folder, which it writes and others read."""

import time
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

FILE_NAME = "supervision.json"
SILENT_S = 60.0
"""A supervisor touches its report at each look. One that has not for this long hangs, or its file is left over."""


class Restart(BaseModel):
    """A part that ended or hung, was started again, and works again."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    part: str
    time_ms: int
    """When it worked again."""
    why: str
    tries: int
    """How many starts it took."""
    away_s: float
    """From when the supervisor saw it until it worked again."""

    @property
    def text(self) -> str:
        tries = "" if self.tries == 1 else f" at try {self.tries}"
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time_ms / 1000))
        return f"{self.part} {self.why}; it was started again and worked{tries} after {self.away_s:.1f} s, at {moment}"


class Trouble(BaseModel):
    """A part that does not work now."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    since_ms: int
    tries: int
    """How many starts have been tried since then."""
    text: str
    log_end: str = ""
    """The last lines of its log, where it ended by itself."""


class Supervision(BaseModel):
    """The report of a supervisor."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pid: int
    since_ms: int
    restarts: int = 0
    """How often a part was started again since `make up`."""
    latest: list[Restart] = []
    """The last of them, oldest first."""
    troubles: dict[str, Trouble] = {}
    beat_ms: int = 0
    """When it last looked; of the file, not in it."""

    @property
    def watching(self) -> bool:
        """Whether that process still lives and looks."""
        if time.time() * 1000 - self.beat_ms > SILENT_S * 1000:
            return False
        try:
            return psutil.Process(self.pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return False

    @property
    def text(self) -> str:
        """One line for a person."""
        if not self.watching:
            return "nobody watches the parts, and none that dies is started again: `make up` starts the supervisor"
        if self.troubles:
            return "; ".join(trouble.text for trouble in self.troubles.values())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since_ms / 1000))
        restarts = f"{self.restarts} restart{'' if self.restarts == 1 else 's'}"
        last = f", the last: {self.latest[-1].text}" if self.latest else ""
        return f"watches since {since}; {restarts}{last}"


def read_supervision(state_dir: Path) -> Supervision | None:
    """The latest report; None where no supervisor wrote one: on a cluster, and while `make up` is at work."""
    file = state_dir / FILE_NAME
    try:
        found = Supervision.model_validate_json(file.read_bytes())
        return found.model_copy(update={"beat_ms": int(file.stat().st_mtime * 1000)})
    except (OSError, ValidationError):
        return None

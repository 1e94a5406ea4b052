"""Tells a webhook that the stack does not come back. Autopilot tells all other alerts, but it lives inside Ray."""

from collections.abc import Callable, Mapping
from typing import Any

from configs import clock
from configs.settings import Alerts
from configs.supervision import Trouble
from deployments.local.probes import UnansweredError, ask

NAME = "stack_down"
PATIENCE_S = 30.0
"""How long Ray or the applications may be away before it is told: most starts are over by then."""
RETRY_S = 30.0
TOLD_OF = ("ray", "serve")


class Alarm:
    """Tells once that Ray or the applications are away, again while it lasts, and once that it is over.

    Args:
        settings: address and form of the webhook; without an address nothing is told.
        say: writes a line into the log.
    """

    def __init__(self, settings: Alerts, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._since: float | None = None
        self._told: str | None = None
        self._repeat_at = self._retry_at = float("-inf")

    def look(self, troubles: Mapping[str, Trouble], now: float) -> None:
        """Tell what is to be told. `now` is in seconds of a clock that is never set."""
        if self._settings.webhook is None:
            return
        text = "; ".join(troubles[name].text for name in TOLD_OF if name in troubles)
        if not text:
            self._since = None
            if self._told is not None and self._post(self._told, False, now):
                self._told, self._repeat_at = None, float("-inf")
            return
        if self._since is None:
            self._since = now
        if now - self._since >= PATIENCE_S and now >= self._repeat_at and self._post(text, True, now):
            self._told, self._repeat_at = text, now + self._settings.repeat_s

    def _post(self, text: str, on: bool, now: float) -> bool:
        assert self._settings.webhook is not None
        if now < self._retry_at:
            return False
        try:
            ask(self._settings.webhook, method="POST", content=message(text, on, self._settings.format))
        except UnansweredError as error:
            self._say(f"the webhook did not take an alert, trying again in {RETRY_S:.0f} s: {error}")
            self._retry_at = now + RETRY_S
            return False
        return True


def message(text: str, on: bool, form: str) -> dict[str, Any]:
    """The body of the request, in the forms of autopilot's alerts (`deployments.autopilot.alerts.message`)."""
    if form == "slack":
        return {"text": f"[{'CRITICAL' if on else 'RESOLVED'}] raycommend {NAME}: {text}"}
    return {
        "source": "raycommend",
        "status": "firing" if on else "resolved",
        "name": NAME,
        "severity": "critical",
        "text": text,
        "time_ms": clock.now_ms(),
    }

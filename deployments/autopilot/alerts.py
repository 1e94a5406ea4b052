"""Alerts: what is wrong now, told once to a webhook, again while it lasts, and once more when it is over.

Telling is a task of its own with a bounded queue: a webhook that is slow or away never holds anything up.
"""

import asyncio
import contextvars
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict

from configs import clock
from configs.settings import Alerts as AlertSettings
from deployments.http import outgoing
from deployments.operations.monitor_views import Alert

logger = logging.getLogger("ray.serve")
QUEUE = 100
TRIES = 5
FIRST_WAIT_S = 1.0
TIMEOUT_S = 5.0
CALM_MS = 60_000


class Told(BaseModel):
    """An alert that was told, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alert: Alert
    since_ms: int
    told_ms: int
    seen_ms: int
    """When the alert was last due."""

    def earlier(self, by_ms: int) -> "Told":
        """The same, with all moments so much earlier."""
        moments = {"since_ms": self.since_ms, "told_ms": self.told_ms, "seen_ms": self.seen_ms}
        return self.model_copy(update={name: moment - by_ms for name, moment in moments.items()})


def changes(
    active: Iterable[Alert], told: Mapping[str, Told], now_ms: int, repeat_ms: int
) -> tuple[list[tuple[Alert, bool]], dict[str, Told]]:
    """Which alerts are to be told now, and what has been told after that.

    Returns:
        (alert, whether it is on) for what is new, has lasted for another `repeat_ms`, or is over: off for `CALM_MS`, so
        that what hovers at its limit is told once.
    """
    out: list[tuple[Alert, bool]] = []
    after: dict[str, Told] = {}
    for alert in active:
        known = told.get(alert.name)
        if known is None or now_ms - known.told_ms >= repeat_ms:
            out.append((alert, True))
            since_ms = known.since_ms if known else now_ms
            after[alert.name] = Told(alert=alert, since_ms=since_ms, told_ms=now_ms, seen_ms=now_ms)
        else:
            after[alert.name] = known.model_copy(update={"alert": alert, "seen_ms": now_ms})
    for name, known in told.items():
        if name not in after and now_ms - known.seen_ms < CALM_MS:
            after[name] = known
        elif name not in after:
            out.append((known.alert, False))
    return out, after


def message(alert: Alert, on: bool, form: Literal["generic", "slack"], now_ms: int) -> dict[str, Any]:
    """The body of the request to the webhook."""
    if form == "slack":
        state = alert.severity.upper() if on else "RESOLVED"
        return {"text": f"[{state}] raycommend {alert.name}: {alert.text}"}
    return {
        "source": "raycommend",
        "status": "firing" if on else "resolved",
        "name": alert.name,
        "severity": alert.severity,
        "text": alert.text,
        "time_ms": now_ms,
    }


class Webhook:
    """Delivers alerts in the background, in order, with retries.

    Args:
        settings: address and form; without an address everything is dropped.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE)
        self._task: asyncio.Task[None] | None = None
        self.delivered = 0
        self.dropped = 0

    def tell(self, alert: Alert, on: bool) -> None:
        """Put an alert into the queue; the oldest is dropped when it is full."""
        if self._settings.webhook is None:
            return
        if self._task is None or self._task.done():
            # In a context of its own: see `MicroBatcher.ask`.
            self._task = asyncio.get_running_loop().create_task(self._deliver(), context=contextvars.Context())
        if self._waiting.full():
            self._waiting.get_nowait()
            self.dropped += 1
        self._waiting.put_nowait(message(alert, on, self._settings.format, clock.now_ms()))

    async def _deliver(self) -> None:
        while True:
            body = await self._waiting.get()
            if await self._post(body):
                self.delivered += 1
            else:
                self.dropped += 1

    async def _post(self, body: dict[str, Any]) -> bool:
        address = self._settings.webhook
        assert address is not None
        for attempt in range(TRIES):
            try:
                async with outgoing.client(TIMEOUT_S, environment=True) as http:
                    answer = await http.post(address, json=body)
                if answer.is_success:
                    return True
                problem = f"it answers {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    logger.error("the webhook refuses an alert, which is dropped: %s", problem)
                    return False
            except httpx.HTTPError as error:
                problem = repr(error)
            logger.warning("the webhook did not take an alert, try %d of %d: %s", attempt + 1, TRIES, problem)
            await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
        logger.error("an alert could not be delivered and is dropped")
        return False

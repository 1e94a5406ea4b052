"""Five cron fields in UTC: minute, hour, day of the month, month, day of the week. cronsim reads them as Debian's cron.

When both day fields are restricted, either may fit: `0 0 13 * 5` means every 13th and every Friday. When one of them
begins with a star, both must fit: `0 0 */2 * 5` means Fridays on an odd day of the month.
"""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

_FIELDS = 5


class Cron:
    """A schedule.

    Args:
        text: such as `0 3 * * *` (daily at 03:00) or `*/15 8-18 * * 1-5`.

    Raises:
        ValueError: it is none; the field is named.
    """

    def __init__(self, text: str) -> None:
        # cronsim would take a sixth field, for seconds.
        if len(text.split()) != _FIELDS:
            raise ValueError(f"schedule: {text!r} has {len(text.split())} fields, cron has five")
        try:
            CronSim(text, datetime.now(UTC))
        except CronSimError as error:
            raise ValueError(f"schedule: {text!r}: {error}") from error
        self._text = text

    def due_between(self, after_ms: int, until_ms: int) -> bool:
        """Whether a minute of the schedule began after one time and not after the other."""
        after, until = (datetime.fromtimestamp(time_ms / 1000, UTC) for time_ms in (after_ms, until_ms))
        # cronsim looks fifty years ahead, and then ends without a moment.
        following = next(CronSim(self._text, after), None)
        return following is not None and following <= until

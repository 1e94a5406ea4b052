"""Five cron fields in UTC: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday)."""

from datetime import UTC, datetime, timedelta

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_LOOKED_BACK_MINUTES = 366 * 24 * 60


class Cron:
    """A schedule.

    Args:
        text: such as `0 3 * * *` (daily at 03:00) or `*/15 8-18 * * 1-5`.

    Raises:
        ValueError: it is none; the field is named.
    """

    def __init__(self, text: str) -> None:
        words = text.split()
        if len(words) != len(_FIELDS):
            raise ValueError(f"schedule: {text!r} has {len(words)} fields, cron has five")
        chosen = [_parse(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
        self._minutes, self._hours, self._days, self._months, weekdays = chosen
        self._weekdays = {day % 7 for day in weekdays}
        self._any_day, self._any_weekday = words[2] == "*", words[4] == "*"

    def due(self, moment: datetime) -> bool:
        """Whether the minute of `moment` is one of the schedule."""
        if not (moment.minute in self._minutes and moment.hour in self._hours and moment.month in self._months):
            return False
        day, weekday = moment.day in self._days, moment.isoweekday() % 7 in self._weekdays
        # As cron has it: where both are restricted, either will do.
        return day and weekday if self._any_day or self._any_weekday else day or weekday

    def due_between(self, after_ms: int, until_ms: int) -> bool:
        """Whether a minute of the schedule began after one time and not after the other; looks back a year at most."""
        moment = datetime.fromtimestamp(until_ms / 1000, UTC).replace(second=0, microsecond=0)
        for _ in range(_LOOKED_BACK_MINUTES):
            if moment.timestamp() * 1000 <= after_ms:
                return False
            if self.due(moment):
                return True
            moment -= timedelta(minutes=1)
        return False


def _parse(word: str, name: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        range_text, slash, step_text = part.partition("/")
        first_text, dash, last_text = range_text.partition("-")
        try:
            step = int(step_text) if slash else 1
            first = low if range_text == "*" else int(first_text)
            last = high if range_text == "*" or (slash and not dash) else int(last_text) if dash else first
        except ValueError:
            raise ValueError(f"schedule: {part!r} is no {name}") from None
        if not (low <= first <= last <= high and step >= 1):
            raise ValueError(f"schedule: {part!r} is no {name} between {low} and {high}")
        found |= set(range(first, last + 1, step))
    return found

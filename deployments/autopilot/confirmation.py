"""When a measure of drift counts: one window alone says little."""

from collections import Counter
from collections.abc import Collection

from deployments.operations.monitor_views import DriftView

CONFIRMED = 2
"""How many looks in a row, each at another window, must agree."""
CALM = 50
"""How many looks in a row without drift end a drift that is slow to end: those at five whole windows."""


class Confirmation:
    """Holds what is measured at each look against the looks before it.

    Args:
        slow_to_end: the measures whose drift, once there, is over only when `CALM` looks in a row show none. Near the
            threshold it would come and go. Any other drift is over at once.
    """

    def __init__(self, slow_to_end: Collection[str]) -> None:
        self._slow_to_end = slow_to_end
        self._streak: Counter[str] = Counter()
        self._calm: Counter[str] = Counter()

    def confirm(self, measure: DriftView) -> DriftView:
        """The measure, drifted only from the second look in a row on that says so."""
        name = measure.name
        self._calm[name] = 0 if measure.drifted else self._calm[name] + 1
        held = name in self._slow_to_end and self._streak[name] >= CONFIRMED and self._calm[name] < CALM
        if not held:
            self._streak[name] = self._streak[name] + 1 if measure.drifted else 0
        if measure.drifted is None and not held:
            return measure
        return measure.model_copy(update={"drifted": self._streak[name] >= CONFIRMED})

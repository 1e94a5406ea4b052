"""Whether a protocol can be asked of a data set at all, and if not, why: what means nothing is not reported."""

import numpy as np

from models.evaluation.new_items import FEWEST_EVENTS, HELD_OUT
from models.evaluation.new_users import SHORTEST
from models.evaluation.repeats import DAY_MS, has_repeats
from models.training.training_data import TrainingData

NO_TIMES = "the times of this data set do not say what came before what, so nothing is judged in time order"
ONE_MOMENT = "all events have one time, so nothing can be judged in time order"
WHOLE_DAYS = "the times are whole days, and the order of the events within a day is not known"
ONE_EVENT = "every user has one event, so nobody has both a history and something held out"
NOT_DESCRIBED = "nothing is written of the items by which a new one could find its users"
NO_REPEATS = "no user has an item twice"


def why_not(protocol: str, data: TrainingData, time_trusted: bool, described: bool = True) -> str:
    """Why a protocol cannot be asked of the data; empty where it can.

    Args:
        described: whether anything is written of the items.

    P1 and P3 split at random and need no times. P5 cuts between two days, so whole days are enough for it.
    """
    if protocol == "P6":
        frequent = np.count_nonzero(np.bincount(data.item) >= FEWEST_EVENTS)
        if round(HELD_OUT * frequent) < 1:
            return f"{frequent} items have {FEWEST_EVENTS} events, too few to hold a tenth of them out"
        return "" if described else NOT_DESCRIBED
    sizes = np.bincount(data.user, minlength=len(data.users))
    if protocol == "P3":
        if sizes.max() < SHORTEST:
            return f"no user has {SHORTEST} events, after which a new user would be judged"
        return ""
    if sizes.max() < 2:
        return ONE_EVENT
    if protocol == "P1":
        return ""
    if not time_trusted:
        return NO_TIMES
    if data.times_ms.min() == data.times_ms.max():
        return ONE_MOMENT
    if protocol == "P5":
        return "" if has_repeats(data) else NO_REPEATS
    return WHOLE_DAYS if len(np.unique(data.times_ms % DAY_MS)) == 1 else ""

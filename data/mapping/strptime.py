"""Dates and times of a given form, as `strptime` knows it: whole columns at once, and no impossible days."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_C_ONLY = {"%F": "%Y-%m-%d", "%D": "%m/%d/%y", "%T": "%H:%M:%S", "%R": "%H:%M", "%e": "%d", "%h": "%b"}
_LATE_DAY = r"29|30|31"
"""What stands in the text of each day that its month may not have."""


def parsed(values: pa.Array, form: str) -> tuple[pa.Array, dict[int, str]]:
    """Moments (n,) in milliseconds, null where there is none, and why texts are none.

    The C library makes 3 March of 31 February: such days are looked at again, with Python's own `strptime`.
    """
    found = pc.strptime(values, format=form, unit="ms", error_is_null=True)
    wrong = np.flatnonzero(pc.and_(pc.is_null(found), pc.is_valid(values)).to_numpy(zero_copy_only=False))
    faults = {int(place): f"{values[int(place)].as_py()!r} is not of the form {form}" for place in wrong}
    day = pc.day(found)
    # What rolled over is in the first days of a month; with a zone the moment may lie a day off.
    first = pc.less_equal(day, 4) if "%z" not in form else pc.or_(pc.less_equal(day, 4), pc.greater_equal(day, 28))
    late = pc.and_(first, pc.match_substring_regex(values, _LATE_DAY))
    places = np.flatnonzero(pc.fill_null(late, False).to_numpy(zero_copy_only=False))
    if not places.size:
        return found, faults
    for directive, same in _C_ONLY.items():
        form = form.replace(directive, same)
    coded = values.take(pa.array(places)).dictionary_encode()
    texts = coded.dictionary.to_pylist()
    impossible = np.array([_no_day(text, form) for text in texts])[coded.indices.to_numpy()]
    return found, faults | {
        int(place): f"{values[int(place)].as_py()!r} is a day that its month does not have"
        for place in places[impossible]
    }


def _no_day(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError as error:
        return str(error).startswith("day ")  # another error is one of form, about which the C library is the judge
    return False

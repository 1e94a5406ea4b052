"""Python imports this by itself at its start, where this folder is on `PYTHONPATH`: `time.time` and `time.time_ns` then
differ from the machine's clock by what a file says, from call to call.

libfaketime would do the same for a whole process; but with it Python 3.11 cannot sleep: `clock_nanosleep` gives EINVAL.
"""

import mmap
import os
import struct
import time

_FILE = os.environ.get("SHIFTED_CLOCK_FILE")
if _FILE is not None and os.path.exists(_FILE):
    with open(_FILE, "rb") as _file:
        _offset = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
    _time, _time_ns, _read = time.time, time.time_ns, struct.Struct("<d").unpack_from

    def _shifted() -> float:
        return _time() + float(_read(_offset)[0])

    def _shifted_ns() -> int:
        return _time_ns() + int(_read(_offset)[0] * 1e9)

    time.time, time.time_ns = _shifted, _shifted_ns

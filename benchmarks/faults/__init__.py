"""Breaks one part of a running stack after another while clients keep records, and compares with what was promised.

A `Fault` (faults.py) -> `Watched` (watching.py: clients before, during and after it) -> `Found` (counting.py: events
in the store's streams and the log) -> `Verdict` -> a row of docs/what-it-survives.md (page.py).

soak.py is the other way to wear it out: everything at once for ten minutes.
"""

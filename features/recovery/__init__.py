"""Making the store anew: data set, log, streams -> `rebuild` with `seed` -> features; `store_snapshot` holds the
rest.
"""

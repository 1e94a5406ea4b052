"""Files of events, items or users that a command takes into the running store, row by row as over HTTP.

`event_batches` and `catalogue_file` read what `data.sources` can read; `event_file` says which columns events have.
"""

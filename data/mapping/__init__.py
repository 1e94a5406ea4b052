"""From other people's columns to ours: the map, its guess from names and contents, and what is done by it.

`column_map` says what a map holds; `guessing` proposes one from a sample; `shown_map` prints
it; `events` and `catalogue` turn batches into canonical tables by it; `refusals` keeps what was refused and why;
`import_tables` does it all.
"""

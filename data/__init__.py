"""Data sets in one canonical form, their splits, and the offline event log.

Anybody's tables -> `sources` (Arrow batches) -> `mapping` (which column is what) -> `dataset` (Parquet);
`builtin` (fetched) -> `dataset`; streams -> `event_log`; both -> `splits` and `matrix`. `fields` checks single cells.
"""

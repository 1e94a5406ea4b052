"""Data sets in one canonical form, their splits, and the offline event log.

Source file -> `movielens` (tables) -> `dataset` (Parquet); streams -> `event_log`; both -> `splits` and `matrix`.
"""

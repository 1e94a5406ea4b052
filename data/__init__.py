"""Data sets in one canonical form, their splits, and the offline event log."""

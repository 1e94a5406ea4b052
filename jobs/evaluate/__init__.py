"""Judging: protocols on the data set, off-policy estimates from the log, the replay against the running system."""

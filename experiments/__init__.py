"""Experiments: assignment, statistics, bandit allocation and off-policy estimates.

Pure: arrays or sums in, frozen dataclasses out. What is undefined is None with a reason, never 0 or 1.
"""

"""Experiments: assignment, attribution, statistics, bandit allocation and off-policy estimates. Pure.

User id -> `assignment` (variant); lists and events -> `attribution` -> `user_totals` (sums) -> `statistics` -> `report`
and `decision`. What is undefined is None with a reason, never 0 or 1.
"""

from configs.moved_modules import tell_moves

tell_moves()

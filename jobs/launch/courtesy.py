"""Trainings leave the processor to whoever answers requests."""

import os

NICENESS = 10


def step_back() -> None:
    """Lower this process's priority below that of the replicas; on an idle machine it costs nothing."""
    if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)

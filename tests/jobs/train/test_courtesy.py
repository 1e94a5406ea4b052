import subprocess
import sys

from configs.settings import PROJECT_DIR


def test_a_training_steps_back_once_and_never_forward() -> None:
    code = """
import os
from jobs.launch.courtesy import NICENESS, step_back
step_back(); step_back()
assert os.getpriority(os.PRIO_PROCESS, 0) == NICENESS
os.setpriority(os.PRIO_PROCESS, 0, NICENESS + 5)
step_back()
assert os.getpriority(os.PRIO_PROCESS, 0) == NICENESS + 5
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=True, timeout=60)

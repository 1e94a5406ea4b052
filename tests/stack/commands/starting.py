"""Commands of the local stack that go on while a test looks, and what they leave behind."""

import os
import signal
import subprocess
import sys

from configs.settings import PROJECT_DIR, Settings
from deployments.local.processes import processes
from deployments.local.ray_environment import resolved_settings


def mentioning(text: str) -> list[str]:
    return [process.command for process in processes().values() if text in process.command]


def start_up(settings: Settings, command: str = "up") -> "subprocess.Popen[str]":
    file = settings.state_dir.parent / "settings.yaml"
    file.write_text(resolved_settings(settings))
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.local", command],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "RAYCOMMEND_CONFIG": str(file)},
        cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background of a shell has Ctrl-C ignored, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip

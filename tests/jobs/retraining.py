"""Retrainings as the tests start them: by a function, or as a command."""

import subprocess
import sys
from collections.abc import Mapping

import yaml

from configs.settings import PROJECT_DIR, Settings


class Lines(list[str]):
    """The lines that a retraining reports."""

    def __call__(self, percent: int, line: str) -> None:
        self.append(line)


def run(settings: Settings, *arguments: str, ray: Mapping[str, str] | None = None) -> subprocess.Popen:
    """`python -m jobs.retrain` with `settings`, beside nothing else of this process's environment.

    Args:
        ray: variables with which it finds a running Ray; without them it starts its own where it needs one.
    """
    config = settings.state_dir.parent / "settings.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    environment = {"RAYCOMMEND_CONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": str(settings.state_dir.parent)}
    environment |= ray or {}
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.retrain", *arguments],
        cwd=PROJECT_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

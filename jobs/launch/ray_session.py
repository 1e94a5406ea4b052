"""The Ray that a job runs on: the cluster it was submitted to, or one of its own."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.settings import Settings

log = logging.getLogger(__name__)
STARTS = 3
SLOW_START = "timed out during startup"  # in Ray's words


@contextmanager
def ray_session(settings: Settings) -> Iterator[None]:
    """Connect to Ray, and disconnect at the end.

    A submitted job finds its cluster in RAY_ADDRESS. Without that, a small Ray is started for this process alone, on
    the loopback address: `ray.init()` by itself would join whatever Ray this machine happens to run.
    """
    inside_job = "RAY_ADDRESS" in os.environ
    if not inside_job and "RAY_AUTH_MODE" not in os.environ:
        # Otherwise Ray would write a token into the user's home.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    if inside_job:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
    else:
        start_own_ray(settings.run_dir / "job")
    try:
        yield
    finally:
        ray.shutdown()


def start_own_ray(folder: Path) -> None:
    """Start a Ray for this process alone, on the loopback address.

    Args:
        folder: for its files and sockets; a short path.
    """
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
            )
            return
        except Exception as error:
            # Ray gives its own processes 30 s, whatever else the machine does, and has no setting for it and no type of
            # its own for this error. What it left running ends with this process.
            if not left or SLOW_START not in str(error):
                raise
            log.warning("Ray was not up within 30 s, which is what a busy machine does; it is started once more")

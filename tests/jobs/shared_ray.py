"""A small Ray for several jobs. `python -m tests.jobs.shared_ray FOLDER` prints its address and ends with its input."""

import sys
from pathlib import Path

import ray

from jobs.launch.ray_session import start_own_ray

if __name__ == "__main__":
    start_own_ray(Path(sys.argv[1]))
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()

"""`python -m benchmarks.scale.first_list`: from `make up` on given data to the first list of the trained model.

Takes the stack that the settings and the environment name (`RAYCOMMEND_CONFIG`, `DATASET`, `DATA`, `MAP`, ...), which
must not run yet and have no model. Starts it, asks for a list twice a second until a model answers, and prints when
something popular came and when the model did, and processor time and peak of memory by role. The stack is stopped then
unless `--keep` is given. Exit code 1 where a limit is passed.
"""

import argparse
import os
from collections.abc import Sequence

from benchmarks.scale.watched_stack import TRAINING, stack, start
from configs.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.first_list", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--limit-s", type=float, default=300.0, help="until the first list of the model")
    parser.add_argument("--popular-limit-s", type=float, default=60.0, help="until something popular is answered")
    parser.add_argument("--limit-gb", type=float, default=2.0, help="memory of the training")
    parser.add_argument("--keep", action="store_true", help="let the stack run afterwards")
    given = parser.parse_args(arguments)
    settings = load_settings()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    watched, asking = start(settings)
    if not given.keep:
        stack(settings, "down").wait()
    print(f"something popular after {asking.popular_s:.1f} s, a list of the model after {asking.model_s:.1f} s")
    watched.show()
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    within = asking.model_s <= given.limit_s and asking.popular_s <= given.popular_limit_s
    return 0 if within and watched.peak_mb[TRAINING] <= given.limit_gb * 1000 else 1


if __name__ == "__main__":
    raise SystemExit(main())

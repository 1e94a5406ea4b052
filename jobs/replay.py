"""The command `python -m jobs.replay`: see `jobs.evaluate.replay`."""

import sys

from jobs.evaluate.replay import main

if __name__ == "__main__":
    sys.exit(main())

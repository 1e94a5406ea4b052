"""The command `python -m jobs.demo`: see `jobs.simulate.demo`."""

import sys

from jobs.simulate.demo import main

if __name__ == "__main__":
    sys.exit(main())

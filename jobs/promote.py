"""The command `python -m jobs.promote`: see `jobs.train.promote`."""

import sys

from jobs.train.promote import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.off_policy`: see `jobs.evaluate.off_policy`."""

import sys

from jobs.evaluate.off_policy import main

if __name__ == "__main__":
    sys.exit(main())

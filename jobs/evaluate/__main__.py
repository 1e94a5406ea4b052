"""The command `python -m jobs.evaluate`: see `jobs.evaluate.evaluate`."""

import sys

from jobs.evaluate.evaluate import main

if __name__ == "__main__":
    sys.exit(main())

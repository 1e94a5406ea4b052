"""The command `python -m jobs.retrain`: see `jobs.train.retrain`."""

import sys

from jobs.train.retrain import main

if __name__ == "__main__":
    sys.exit(main())

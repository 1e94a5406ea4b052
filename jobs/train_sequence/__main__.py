"""The command `python -m jobs.train_sequence`: see `jobs.train_sequence.train_sequence`."""

import sys

from jobs.train_sequence.train_sequence import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.first_model`: see `jobs.launch.first_model`."""

import sys

from jobs.launch.first_model import main

if __name__ == "__main__":
    sys.exit(main())

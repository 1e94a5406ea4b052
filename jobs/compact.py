"""The command `python -m jobs.compact`: see `jobs.maintenance.compact`."""

import sys

from jobs.maintenance.compact import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.backup`: see `jobs.maintenance.backup`."""

import sys

from jobs.maintenance.backup import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.restore`: see `jobs.maintenance.restore`."""

import sys

from jobs.maintenance.restore import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.rebuild_features`: see `jobs.maintenance.rebuild_features`."""

import sys

from jobs.maintenance.rebuild_features import main

if __name__ == "__main__":
    sys.exit(main())

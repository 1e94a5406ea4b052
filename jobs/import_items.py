"""The command `python -m jobs.import_items`: see `jobs.maintenance.import_items`."""

import sys

from jobs.maintenance.import_items import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.import_events`: see `jobs.maintenance.import_events`."""

import sys

from jobs.maintenance.import_events import main

if __name__ == "__main__":
    sys.exit(main())

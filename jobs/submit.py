"""The command `python -m jobs.submit`: see `jobs.launch.submit`."""

import sys

from jobs.launch.submit import main

if __name__ == "__main__":
    sys.exit(main())

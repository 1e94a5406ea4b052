"""The command `python -m jobs.inspect_data`: see `jobs.inspect.inspect_data`."""

import sys

from jobs.inspect.inspect_data import main

if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m jobs.simulate`: see `jobs.simulate.simulate`."""

import sys

from jobs.simulate.simulate import main

if __name__ == "__main__":
    sys.exit(main())

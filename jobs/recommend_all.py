"""The command `python -m jobs.recommend_all`: see `jobs.batch.recommend_all`."""

import sys

from jobs.batch.recommend_all import main

if __name__ == "__main__":
    sys.exit(main())

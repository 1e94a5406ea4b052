"""Commands, run by hand or as Ray jobs: `python -m jobs.NAME`. Each module here names the one that does the work."""

from configs.moved_modules import tell_moves

tell_moves()

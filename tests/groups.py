"""Which tests share a worker."""

from xdist.scheduler import LoadScopeScheduling

# The tests of one group run in one process, one after another, since they share what is dear: a stack, a registry. The
# groups run side by side, these first; of all other tests, each file is a group of its own.
GROUPS = {
    "tests/stack/commands/test_start.py": "start",
    "tests/stack/commands/test_up_from_disk.py": "console",
    "tests/stack": "stack",
    "tests/console": "console",
    "tests/faults": "console",
    "tests/jobs": "jobs",
    "tests/features": "features",
    "tests/clients": "clients",
}


def group_of(nodeid: str) -> str:
    """The group of a test: the first place in `GROUPS` that it lies in, and else its file."""
    return next((group for place, group in GROUPS.items() if nodeid.startswith(place)), nodeid.partition("::")[0])


class ByGroup(LoadScopeScheduling):
    """Gives groups of tests to workers. `--dist loadgroup` alone sends tests anywhere: it writes the group where
    pytest 9 no longer reads it."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

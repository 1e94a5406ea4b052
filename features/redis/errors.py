"""What can go wrong in the online store. Nothing of the Redis client leaks out of `features/`."""


class StoreError(Exception):
    """The online store did not do what it was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - it names a state, which callers answer with 503
    """The store is down, does not answer in time, or is not ready. A write may or may not have happened."""


class StoreFull(StoreError):  # noqa: N818
    """The store refused a write because its memory (or disk) is full. Nothing was written."""


class StorageFull(StoreError):  # noqa: N818
    """The disk of the store is nearly full, and nothing more was written: the store would exit at its end."""


class StoreBusy(StoreError):  # noqa: N818
    """Another maintenance job (compaction, rebuild, erasure) holds the lock."""


class LayoutError(StoreError):
    """The store was created with other partitions, or by another format version."""


class EventConflict(StoreError):  # noqa: N818
    """The id of an event names another event of the user. The one that came later was not recorded."""

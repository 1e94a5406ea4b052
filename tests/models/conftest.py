"""The small data set with a known answer that tests of jobs use too."""

from tests.jobs.conftest import settings

__all__ = ["settings"]

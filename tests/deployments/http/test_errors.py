"""What a client reads of an error of the store: each thing is said once."""

import re

import pytest
from redis import exceptions as raw

from deployments.http.errors import store_error
from features.redis.connection import translate
from features.redis.errors import StoreBusy, StoreError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (translate(raw.ConnectionError("refused")), "store_unavailable", "the online store does not answer: refused"),
        (translate(TimeoutError()), "store_unavailable", "the online store does not answer: TimeoutError"),
        (translate(raw.OutOfMemoryError("maxmemory")), "store_full",
         "the online store is full: maxmemory; nothing was written"),
        (translate(raw.ResponseError("no")), "store_unavailable", "the online store refused: no"),
        (StoreBusy("compact is at work on the store; try again when it has finished"), "store_busy",
         "compact is at work on the store; try again when it has finished"),
    ],
)  # fmt: skip
def test_an_error_of_the_store_is_told_once(error: StoreError, code: str, message: str) -> None:
    """Regression: "the online store does not answer: the online store does not answer: refused"."""
    found = store_error(error)
    assert (found.status, found.code, found.message) == (503, code, message)
    parts = re.split(r"[:;] ", found.message)
    assert len(parts) == len(set(parts))

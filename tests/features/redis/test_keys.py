import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from features.redis.keys import PARTITION_KINDS, Keys

KEYS = Keys("rc", 16)


def test_partition_is_crc32_of_the_text() -> None:
    assert KEYS.partition_of("196") == zlib.crc32(b"196") % 16
    assert KEYS.partition_of("Zoë") == zlib.crc32("Zoë".encode()) % 16


@given(st.text(min_size=1, max_size=200))
def test_all_keys_of_a_users_scripts_share_one_slot(user_id: str) -> None:
    """Ids with braces of their own must not move a key to another slot."""
    partition = KEYS.partition_of(user_id)
    keys = [
        KEYS.user(user_id),
        KEYS.history(user_id),
        KEYS.older_seen(user_id),
        KEYS.ledger(user_id),
        KEYS.last_exposure(user_id),
        KEYS.user_experiments(user_id),
        KEYS.experiment_sums(partition),
        KEYS.item(partition, "{other}"),
        KEYS.trending(partition, "1h"),
        KEYS.events(partition),
        KEYS.exposures(partition),
        KEYS.totals(partition),
        KEYS.rebuilding(partition),
    ]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert len(set(keys)) == len(keys)
    assert KEYS.of_user(user_id) == (partition, keys[:4])


def test_control_keys_share_one_slot() -> None:
    names = ["meta", "versions", "catalogue", "catalogue_changes", "slots", "decisions", "erased", "replicas"]
    names += ["experiments", "experiment_changes", "rollout"]
    keys = [getattr(KEYS, name) for name in names] + [KEYS.lock("maintenance"), KEYS.experiment_series("e")]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert len(set(keys)) == len(keys)


def test_patterns_match_the_kinds_of_keys() -> None:
    assert KEYS.pattern("u") == "rc:{p*}:u:*"
    assert KEYS.user("7").split(":")[2] in PARTITION_KINDS
    with pytest.raises(ValueError, match="'y'"):
        KEYS.pattern("y")

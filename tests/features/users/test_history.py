import numpy as np

from features.users.history import EMPTY, RECORD, decode_history, decode_seen, encode_history


def test_round_trip() -> None:
    raw = encode_history([b"50", "Zoë".encode()], [1000, 1_750_000_000_123], [None, 4.5], [1, 5])
    history = decode_history(raw)
    assert history.item_ids == [b"50", "Zoë".encode()]
    assert history.times_ms.tolist() == [1000.0, 1_750_000_000_123.0]
    assert np.isnan(history.values[0])
    assert history.values[1] == 4.5
    assert history.codes.tolist() == [1, 5]
    assert len(history) == 2


def test_layout_is_thirteen_bytes_a_record() -> None:
    assert RECORD.itemsize == 13
    raw = encode_history([b"a", b"bc"], [1, 2], [None, None], [3, 3])
    assert raw[:4] == b"\x02\x00\x00\x00"
    assert raw[4 + 26 :] == b"a\nbc"


def test_nothing_is_an_empty_history() -> None:
    assert decode_history(None) is EMPTY
    assert len(decode_history(b"")) == 0
    assert decode_seen(None) == []
    assert decode_seen(b"a\nb") == [b"a", b"b"]

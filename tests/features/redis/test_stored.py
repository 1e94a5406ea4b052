import logging

import orjson
import pytest
from pydantic import ValidationError

from features.experiments.experiment import Bandit, Experiment, Variant
from features.items.catalogue import Item, pack_item, unpack_item
from features.redis import stored
from features.redis.stored import read_record


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told in other tests is told again."""
    monkeypatch.setattr(stored, "_told", set())


EXPERIMENT = Experiment(
    id="e1", seed="s", hypothesis="h", created_ms=1, bandit=Bandit(),
    variants=[Variant(name="a", weight=0.5, slot="champion"), Variant(name="b", weight=0.5, slot="challenger")],
)  # fmt: skip


def test_fields_of_a_newer_version_are_left_out_at_every_depth_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = orjson.loads(EXPERIMENT.model_dump_json())
    content["audience"] = {"country": "NL"}
    content["variants"][1]["colour"] = "blue"
    content["bandit"]["prior"] = 2
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert read_record(Experiment, orjson.dumps(content)) == EXPERIMENT
    assert sorted(message.split("'")[1] for message in caplog.messages) == ["audience", "colour", "prior"]


def test_another_fault_is_still_one() -> None:
    content = {**orjson.loads(EXPERIMENT.model_dump_json()), "audience": 1, "status": "paused"}
    with pytest.raises(ValidationError, match="status"):
        read_record(Experiment, orjson.dumps(content))


def test_an_item_of_a_newer_version_is_read() -> None:
    item = Item("i1", "A title", categories=("Drama",))
    raw = orjson.dumps({**orjson.loads(pack_item(item)), "created_ms": 0, "brand": "x"})
    assert unpack_item(raw) == item

"""P6 on made data: users of eight tastes, and items whose maker says their taste."""

import numpy as np
import pandas as pd
import pytest

from configs.event_types import load_event_types
from models.content.description import Description
from models.evaluation.new_items import NewItemsArm, new_items
from models.factors.als import AlsParameters
from models.training.item_facts import Described, ItemFacts
from models.training.past_requests import in_store_order
from models.training.training_data import TrainingData, training_data_of

N_USERS, N_ITEMS, TASTES = 160, 240, 8
PARAMETERS = AlsParameters(factors=16, regularization=5.0, alpha=4.0, iterations=5)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    generator = np.random.default_rng(0)
    same = np.arange(N_USERS)[:, None] % TASTES == np.arange(N_ITEMS) % TASTES
    user, item = np.nonzero(generator.random(same.shape) < np.where(same, 0.5, 0.01))
    order = generator.permutation(len(user))
    frame = pd.DataFrame({"user_id": user[order].astype(str), "item_id": item[order].astype(str)})
    frame = frame.assign(event_type="like", value=np.nan, timestamp_ms=np.arange(len(frame), dtype=np.int64))
    return in_store_order(training_data_of(frame, load_event_types(), "made", ("int", "int"), 0, {}, ""))


def arms_of(data: TrainingData, described: bool, notes: list[str]) -> dict[str, NewItemsArm]:
    taste = np.array([int(item) % TASTES for item in data.items.ids])
    written = Described([Description("Thing", attributes={"maker": f"m{one}"}) for one in taste], {"maker": "keyword"})
    number = np.array([int(item) // TASTES % 3 for item in data.items.ids])  # says nothing of taste
    categories = {f"c{one}": np.flatnonzero(number == one) for one in range(3)}
    facts = ItemFacts(np.full(len(taste), np.nan, np.float32), categories, described=written if described else None)
    return {arm.name: arm for arm in new_items(data, facts, "preference", PARAMETERS, notes.append)}


def test_new_items_are_found_by_what_is_written_of_them(data: TrainingData) -> None:
    notes: list[str] = []
    arms = arms_of(data, True, notes)
    assert notes[0].startswith("P6: 24 new items, ")
    assert list(arms) == ["content", "categories", "popular in category", "newest", "random"]
    recall = {name: float(arm.recall.mean()) for name, arm in arms.items()}
    among_new = {name: float(arm.among_new.mean()) for name, arm in arms.items()}
    assert recall["content"] > max(0.8, 3 * recall["categories"], 3 * recall["random"])
    # All 24 new ones are the newest; which of them somebody likes they do not say.
    assert (recall["newest"], arms["newest"].share) == (1.0, 24 / 50)
    assert among_new["content"] > 0.9 > 0.6 > among_new["newest"]
    assert recall["random"] == pytest.approx(50 / N_ITEMS, abs=0.08)


def test_a_model_that_learns_nothing_from_what_is_written_has_no_such_arm(data: TrainingData) -> None:
    notes: list[str] = []
    assert "content" not in arms_of(data, False, notes)
    assert "nothing else is written" in notes[1]

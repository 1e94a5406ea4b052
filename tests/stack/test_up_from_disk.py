"""The second stack has started from a copy of the first one's state: nothing is trained again, and nothing is lost."""

import pytest

from features.serving.slots import CHAMPION
from jobs.train.store_calls import current_slots
from tests.conftest import RunningStack
from tests.trained_state import answers


@pytest.mark.stack
def test_up_starts_again_from_disk(second_stack: RunningStack) -> None:
    before = second_stack.said_before
    if not before:
        pytest.skip("no test of this session needs the first stack, so there is no state to start from")
    assert "training the first one" not in second_stack.printed
    assert f"model: {before['model_version']}, already there" in second_stack.printed
    slot = current_slots(second_stack.settings)[CHAMPION]
    assert slot.path == second_stack.settings.bundles_dir / before["model_version"]
    now = answers(second_stack.url)
    assert (now["model_version"], now["user"]) == (before["model_version"], before["user"])
    # Ages and decayed popularity move on meanwhile, and with them scores and places, but hardly an item.
    assert len(now["items"]) == len(before["items"]) == 10
    assert len(set(now["items"]) & set(before["items"])) >= 9

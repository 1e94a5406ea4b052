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
    # A list's scores follow the hour and what is popular by now; what the model finds alike does not.
    assert now == before
    assert now["items"] == len(now["similar"]) == 10

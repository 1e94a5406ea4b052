import pytest

from configs.event_types import load_event_types
from models.training import parameter_grid
from models.training.parameter_grid import choose_parameters
from models.training.training_data import TrainingData, training_data_of
from tests.jobs.job_data import two_tastes


@pytest.fixture
def data() -> TrainingData:
    return training_data_of(two_tastes(), load_event_types(), "two tastes", ("int", "int"), 0, {}, "")


def test_a_hopeless_point_is_given_up(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter_grid, "REGULARIZATIONS", (2.0, 1e9))
    monkeypatch.setattr(parameter_grid, "ALPHAS", (4.0,))
    monkeypatch.setattr(parameter_grid, "REMAINING", 1)
    lines: list[str] = []
    assert choose_parameters(data, "preference", 8, 0, lines.append).regularization == 2.0
    assert lines[-1].endswith("over 3 inner splits, the best of 2 points")


def test_few_users_are_enough_to_tell_points_apart(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter_grid, "REGULARIZATIONS", (2.0, 1e9))
    monkeypatch.setattr(parameter_grid, "ALPHAS", (4.0,))
    monkeypatch.setattr(parameter_grid, "_MOST_JUDGED", 20)
    one, two = (choose_parameters(data, "preference", 8, 0, lambda line: None, threads) for threads in (1, 2))
    assert one == two
    assert one.regularization == 2.0

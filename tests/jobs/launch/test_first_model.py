"""Who is named as the one who lets a model serve, and what happens where there is nothing to learn from."""

from pathlib import Path

import pytest
import yaml

from configs.settings import Settings
from data.dataset import processed_dir
from data.prepare import write_empty
from features.serving.serving_state import AUTOPILOT, FIRST_START, by_hand
from jobs.launch.first_model import main, training_command
from jobs.train.retrain import parse_options


def test_a_training_names_who_asked_for_it() -> None:
    """Regression: the first model was let in by "a person"."""
    first = parse_options(training_command(4)[3:], Settings())
    assert (first.decides, first.reason, first.trials) == (FIRST_START, "the first model", 4)
    assert parse_options(training_command(None)[3:], Settings()).trials is None
    assert parse_options([], Settings()).decides == "a person"
    of_gate = parse_options(["--run", "retrain-1", "--who", "key ops"], Settings()).decides
    assert of_gate == "retraining retrain-1, asked for by key ops"
    assert parse_options(["--run", "retrain-1"], Settings()).decides == "retraining retrain-1"
    # A gate's decision does not end the watch over the champion; a person's does, with a key or without.
    assert [by_hand(who) for who in ("a person", "key ops", of_gate, AUTOPILOT)] == [True, True, False, False]


def test_without_any_events_no_training_is_started(
    with_store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_empty(processed_dir(with_store))
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(with_store.model_dump(mode="json", exclude_none=True)))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(config))
    assert main([]) == 0
    assert "trains the first one after 1,000 events" in capsys.readouterr().out

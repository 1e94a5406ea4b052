from pathlib import Path

import pytest
import yaml

from configs.settings import Settings
from data.prepare import processed_dir, write_empty
from jobs.launch.first_model import main


def test_without_any_events_no_training_is_started(
    with_store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_empty(processed_dir(with_store))
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(with_store.model_dump(mode="json", exclude_none=True)))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(config))
    assert main([]) == 0
    assert "trains the first one after 1,000 events" in capsys.readouterr().out

import shutil
from pathlib import Path

import pytest

from configs.settings import Settings, load_settings
from data.dataset import DataError, load_dataset, processed_dir
from data.prepare import main, prepare
from tests.data.test_movielens import DATA, write_movielens


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return write_movielens(tmp_path / "own")


@pytest.fixture
def settings(tmp_path: Path, source: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", data={"source": source})


def test_the_second_time_nothing_is_done(settings: Settings) -> None:
    first, imported = prepare(settings)
    assert imported
    assert prepare(settings) == (first, False)


def test_a_changed_source_is_imported_anew(settings: Settings, source: Path) -> None:
    prepare(settings)
    write_movielens(source, data=DATA[:2])
    meta, imported = prepare(settings)
    assert imported
    assert meta.n_interactions == 2


def test_a_damaged_import_is_repaired(settings: Settings) -> None:
    prepare(settings)
    (processed_dir(settings) / "items.parquet").write_bytes(b"")
    assert prepare(settings)[1]
    assert len(load_dataset(processed_dir(settings)).items) == 8


def test_what_is_there_stays_when_no_source_is_named_any_more(settings: Settings, source: Path) -> None:
    meta, _ = prepare(settings)
    shutil.rmtree(source)
    assert prepare(load_settings(data_dir=settings.data_dir)) == (meta, False)


def test_a_corrupt_source_leaves_the_import_as_it_was(settings: Settings, source: Path) -> None:
    meta, _ = prepare(settings)
    write_movielens(source, data=[*DATA[:2], "broken"])
    with pytest.raises(DataError, match=r"u\.data, row 3"):
        prepare(settings)
    assert load_dataset(processed_dir(settings)).meta == meta
    assert [path.name for path in settings.data_dir.iterdir()] == ["processed"]


def test_the_command_says_what_there_is_or_what_is_wrong(
    settings: Settings,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"data_dir: {settings.data_dir}\n")
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(config))
    monkeypatch.setenv("DATA", str(source))
    assert main() == 0
    assert "3 interactions of 2 users with 8 items" in capsys.readouterr().out
    write_movielens(source, user=["22|25|M|writer"])
    assert main() == 1
    assert "u.user, row 1" in capsys.readouterr().err

"""Another data set on a state folder that is filled: said, with how to keep both, and nothing is touched."""

from pathlib import Path

import pytest

from configs.settings import Settings, load_settings
from data.dataset import processed_dir, read_meta
from data.prepare import main, prepare
from data.state_folder import MARK

ROWS = "customer,sku,date,amount\n" + "".join(f"c{n % 7},s{n % 5},2026-01-0{n % 9 + 1},1\n" for n in range(30))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(f"data_dir: {tmp_path / 'data'}\nstate_dir: {tmp_path / 'state'}\n")
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(file))
    for name in ("orders", "clicks"):
        (tmp_path / f"{name}.csv").write_text(ROWS)
    return file


def fill(folder: Path) -> None:
    (folder / "bundles" / "a-model").mkdir(parents=True)


def test_another_data_set_stops_before_anything_is_mixed(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "orders.csv"))
    assert main() == 0
    assert "user_id     <- customer" in capsys.readouterr().out
    fill(tmp_path / "state")
    before = read_meta(tmp_path / "data" / "processed")
    monkeypatch.setenv("DATA", str(tmp_path / "clicks.csv"))
    assert main() == 1
    told = capsys.readouterr().err
    assert "was filled from the data set orders and holds models of it; with clicks they would be mixed" in told
    assert f"RAYCOMMEND_STATE_DIR={tmp_path / 'state'}-clicks" in told
    assert read_meta(tmp_path / "data" / "processed") == before
    # The same data set with more rows is no other one.
    monkeypatch.setenv("DATA", str(tmp_path / "orders.csv"))
    (tmp_path / "orders.csv").write_text(ROWS + "c1,s1,2026-02-01,1\n")
    assert main() == 0
    assert read_meta(tmp_path / "data" / "processed").n_interactions == 31


def test_a_folder_of_the_version_before_counts_as_filled_from_what_is_there(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "orders.csv"))
    assert main() == 0
    (tmp_path / "state" / MARK).unlink()
    fill(tmp_path / "state")
    monkeypatch.setenv("DATA", str(tmp_path / "clicks.csv"))
    assert main() == 1
    assert "data set orders" in capsys.readouterr().err


def test_the_preset_of_the_data_counts_unless_another_is_set(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "orders.csv"))
    monkeypatch.setenv("PRESET", "groceries")
    assert main() == 0
    monkeypatch.delenv("PRESET")
    settings = load_settings()
    assert settings.data.events == "groceries"
    assert settings.store.attribution_window_s == 604_800
    monkeypatch.setenv("RAYCOMMEND_DATA_EVENTS", "shops")
    monkeypatch.setenv("RAYCOMMEND_STORE_ATTRIBUTION_WINDOW_S", "60")
    settings = load_settings()
    assert (settings.data.events, settings.store.attribution_window_s) == ("shops", 60)


def test_another_preset_stops_before_it_counts_what_is_there_otherwise(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: it counted until the next start without it, beside features that the first preset had made."""
    monkeypatch.setenv("DATA", str(tmp_path / "orders.csv"))
    monkeypatch.setenv("PRESET", "groceries")
    assert main() == 0
    fill(tmp_path / "state")
    before = read_meta(tmp_path / "data" / "processed")
    # The one that was chosen counts for more rows too, whatever would be guessed.
    monkeypatch.delenv("PRESET")
    assert main() == 0
    assert read_meta(tmp_path / "data" / "processed") == before
    (tmp_path / "orders.csv").write_text(ROWS + "c1,s1,2026-02-01,1\n")
    assert main() == 0
    kept = read_meta(tmp_path / "data" / "processed")
    assert (kept.n_interactions, kept.preset) == (31, "groceries")
    assert main() == 0
    capsys.readouterr()
    for variable in ("PRESET", "RAYCOMMEND_DATA_EVENTS"):
        with monkeypatch.context() as patch:
            for source in (str(tmp_path / "orders.csv"), ""):
                patch.setenv("DATA", source)
                patch.setenv(variable, "shops")
                assert main() == 1
                told = capsys.readouterr().err
                assert "was filled under the preset groceries" in told
                assert f"RAYCOMMEND_STATE_DIR={tmp_path / 'state'}-shops" in told
                patch.setenv(variable, "groceries")
                assert main() == 0
    (tmp_path / "map.yaml").write_text("preset: shops\n")
    monkeypatch.setenv("MAP", str(tmp_path / "map.yaml"))
    assert main() == 1
    assert "or preset in the map" in capsys.readouterr().err
    assert read_meta(tmp_path / "data" / "processed") == kept


def test_a_folder_without_a_data_set_keeps_its_preset(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATASET", "none")
    monkeypatch.setenv("PRESET", "shops")
    assert main() == 0
    fill(tmp_path / "state")
    monkeypatch.delenv("PRESET")
    assert main() == 0
    assert load_settings().data.events == "shops"
    monkeypatch.setenv("PRESET", "jobs")
    assert main() == 1
    assert "under the preset shops" in capsys.readouterr().err


def test_a_data_set_of_nothing_loads(tmp_path: Path) -> None:
    settings: Settings = load_settings(data_dir=tmp_path / "data", data={"dataset": "none"})
    meta, imported = prepare(settings)
    assert imported
    assert (meta.n_interactions, meta.n_items, meta.first_ms) == (0, 0, 0)
    assert prepare(settings) == (meta, False)
    assert read_meta(processed_dir(settings)) == meta


def test_an_import_that_is_there_is_not_repeated(config: Path, tmp_path: Path) -> None:
    settings = load_settings(data={"source": tmp_path / "orders.csv"})
    first, imported = prepare(settings, lambda line: None)
    assert imported
    assert prepare(settings, lambda line: None) == (first, False)


def test_recboles_atomic_files_are_read_from_their_folder(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "atomic"
    folder.mkdir()
    rows = "".join(f"u{n % 4}\ti{n % 3}\t{n % 5 + 1}\t{1_700_000_000 + n}\n" for n in range(20))
    (folder / "a.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows)
    (folder / "a.item").write_text("item_id:token\titem_name:token_seq\tgenre:token_seq\ni0\tAn Item\tx y\n")
    meta, _ = prepare(load_settings(data={"source": folder}), lambda line: None)
    assert (meta.n_interactions, meta.n_users, meta.n_items, meta.name) == (20, 4, 3, "a")


def test_a_file_that_is_no_table_is_named_before_the_state_folder(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "orders.csv"))
    assert main() == 0
    fill(tmp_path / "state")
    (tmp_path / "page.csv").write_text("<!DOCTYPE html>\n<html></html>\n")
    monkeypatch.setenv("DATA", str(tmp_path / "page.csv"))
    capsys.readouterr()
    assert main() == 1
    told = capsys.readouterr().err
    assert "it is a web page (HTML)" in told
    assert "would be mixed" not in told

import os
import stat
from pathlib import Path

import pytest

from deployments.local.private_file import NotPrivateError, make_private, write_private


def test_only_its_owner_can_read_a_file_with_secrets(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("old\n")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        with path.open() as opened_by_another:
            write_private(path, "export REDIS_URL=redis://:s3cret@store\n")
            # The file that others could read is replaced and never written into.
            assert opened_by_another.read() == "old\n"
    finally:
        os.umask(before)
    assert path.read_text() == "export REDIS_URL=redis://:s3cret@store\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["env"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_private(tmp_path / "env", "\ud800")
    assert list(tmp_path.iterdir()) == []


class TestFolder:
    def test_what_was_open_to_others_is_closed_and_stays_usable(self, tmp_path: Path) -> None:
        folder = tmp_path / "state"
        (folder / "store").mkdir(parents=True)
        (folder / "log").mkdir()
        for name, mode in (("env", 0o644), ("store/appendonly.aof", 0o640), ("run.sh", 0o755)):
            (folder / name).write_text("secret")
            (folder / name).chmod(mode)
        for name in (".", "store", "log"):
            (folder / name).chmod(0o755)
        outside = tmp_path / "outside"
        outside.write_text("of others")
        outside.chmod(0o644)
        (folder / "link").symlink_to(outside)
        make_private(folder)
        found = {
            str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
            for path in (folder, *folder.rglob("*"))
            if not path.is_symlink()
        }
        assert found == {
            ".": 0o700, "store": 0o700, "log": 0o700, "env": 0o600, "store/appendonly.aof": 0o600, "run.sh": 0o700,
        }  # fmt: skip
        assert stat.S_IMODE(outside.stat().st_mode) == 0o644

    def test_a_folder_that_is_not_there_is_made(self, tmp_path: Path) -> None:
        make_private(tmp_path / "a" / "state")
        assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
    def test_a_folder_of_somebody_else_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "state"
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        os.chown(folder, 12_345, -1)
        with pytest.raises(NotPrivateError, match="belongs to the user with the id 12345"):
            make_private(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755

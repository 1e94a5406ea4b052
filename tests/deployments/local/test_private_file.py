import os
import stat
from pathlib import Path

import pytest

from deployments.local.private_file import write_private


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

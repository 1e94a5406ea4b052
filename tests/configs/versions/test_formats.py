"""What a later version has written is refused in one line, and what the version before wrote is read."""

import json
import re
from pathlib import Path

import pytest

from configs.versions.formats import BACKUP, BUNDLE, STATE, STORE, Format, FormatError
from configs.versions.program import program_version
from configs.versions.state_folder import check_state_format, mark_state_format

KEPT = Format("a diary", current=4, oldest=3)


@pytest.mark.parametrize("number", [3, 4])
def test_this_format_and_the_one_before_are_read(number: int) -> None:
    KEPT.check(number, "here")


def test_a_later_format_is_refused_with_both_versions_and_what_to_do() -> None:
    with pytest.raises(FormatError) as refused:
        KEPT.check(5, "/state", "9.8.7")
    assert str(refused.value) == (
        f"/state: a diary of format 5, written by Raycommend 9.8.7; this is Raycommend {program_version()}, which "
        "reads formats 3 to 4: run the version that wrote it, or a later one; to go back, restore a backup of the "
        "older version into an empty state folder"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (2, r"format 2; this is .*: run a version in between first"),
        (0, "run a version in between first"),
        ("4", "must be a number, and is '4'"),
        (None, "must be a number, and is None"),
        (True, "must be a number, and is True"),
        (4.0, r"must be a number, and is 4\.0"),
    ],
)
def test_what_is_too_old_or_no_number_is_refused(found: object, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        KEPT.check(found, "here")


@pytest.mark.parametrize("kind", [STATE, STORE, BUNDLE, BACKUP], ids=lambda kind: kind.what)
def test_each_kind_is_read_in_the_format_before(kind: Format) -> None:
    assert kind.oldest == max(1, kind.current - 1)


def test_a_folder_without_a_mark_is_that_of_an_earlier_version(tmp_path: Path) -> None:
    check_state_format(tmp_path)
    mark_state_format(tmp_path)
    check_state_format(tmp_path)
    assert json.loads((tmp_path / "format.json").read_text()) == {
        "format": STATE.current,
        "written_by": program_version(),
    }
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [("format.json", 0o600)]


def test_the_mark_of_the_version_before_is_raised(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text(json.dumps({"format": STATE.oldest, "written_by": "0.0.9"}))
    check_state_format(tmp_path)
    mark_state_format(tmp_path)
    assert json.loads((tmp_path / "format.json").read_text())["format"] == STATE.current


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            json.dumps({"format": STATE.current + 1, "written_by": "7.0.0", "more": 1}),
            rf"a state folder of format {STATE.current + 1}, written by Raycommend 7\.0\.0; this is Raycommend",
        ),
        ('{"format": ', r"format\.json: it is damaged"),
        ("[2]", r"format\.json: it is damaged"),
        ("{}", "must be a number"),
    ],
)
def test_a_mark_of_a_later_version_or_a_damaged_one_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(FormatError, match=words):
        check_state_format(tmp_path)
    assert (tmp_path / "format.json").read_text() == text


def test_the_version_is_that_of_pyproject() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", program_version())

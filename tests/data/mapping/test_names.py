"""What the names of columns and files say, and what they only seem to say."""

from pathlib import Path

import pytest

from data.mapping.names import fit, has_word, says_seconds, says_spent, words
from data.mapping.plan import Sources, UnclearMap, make_plan


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("watchedSeconds", ["watched", "seconds"]),
        ("watchedseconds", ["watched", "seconds"]),
        ("Order-No", ["order", "no"]),
        ("unit price", ["unit", "price"]),
        ("border_color", ["border", "color"]),
        ("invoicedate", ["invoicedate"]),
        ("orderamount", ["order", "amount"]),
    ],
)
def test_words_of_a_name(column: str, found: list[str]) -> None:
    assert words(column) == found


@pytest.mark.parametrize("column", ["amount", "order_no", "orderamount", "total_price", "order_date", "ordered_at"])
def test_names_that_say_spent(column: str) -> None:
    assert says_spent(column)


@pytest.mark.parametrize("column", ["border_color", "order_position", "sort_order_rank", "reordered", "totality"])
def test_names_that_do_not_say_spent(column: str) -> None:
    """Regression: border_color and order_position made purchases of all rows."""
    assert not says_spent(column)


def test_units_of_durations() -> None:
    assert [says_seconds(name) for name in ("duration", "watch_seconds", "playtime")] == [True] * 3
    assert [says_seconds(name) for name in ("duration_days", "minutes_watched", "play_duration_ms")] == [False] * 3
    assert has_word("ratings", ("rating",))
    assert not has_word("underscored", ("score",))


def test_a_root_within_a_word_says_nothing() -> None:
    assert [fit(name, "time") for name in ("candidate", "updated_by", "consolidated")] == [0, 0, 0]
    assert [fit(name, "time") for name in ("bestelldatum", "birthdate", "order_date")] == [1, 1, 1]


def rows(folder: Path, column: str, cells: list[str], name: str = "feed.csv") -> Sources:
    folder.mkdir(exist_ok=True)
    text = "".join(f"u{n % 7},i{n % 5},{1_700_000_000 + n},{cells[n % len(cells)]}\n" for n in range(60))
    (folder / name).write_text(f"user_id,item_id,timestamp,{column}\n{text}")
    return Sources(str(folder / name))


@pytest.mark.parametrize("column", ["border_color", "order_position", "duration_days", "duration_ms"])
def test_such_a_column_does_not_say_what_the_rows_are(tmp_path: Path, column: str) -> None:
    with pytest.raises(UnclearMap, match="nothing says what a row is"):
        make_plan(rows(tmp_path, column, ["3", "17", "44"]))


def test_folders_around_a_file_say_nothing_of_its_rows(tmp_path: Path) -> None:
    """Regression: /tmp/likes/feed.csv was a file of likes."""
    with pytest.raises(UnclearMap, match="nothing says what a row is"):
        make_plan(rows(tmp_path / "likes", "note", ["3", "17"]))
    assert make_plan(Sources(str(tmp_path / "likes"))).chosen.interactions.event_type.constant == "like"
    named = rows(tmp_path / "likes", "note", ["3", "17"], "clicks-2026.csv")
    assert make_plan(named).chosen.interactions.event_type.constant == "click"


@pytest.mark.parametrize("cells", [["0", "1"], ["true", "false"], ["no", "yes"]])
@pytest.mark.parametrize(("column", "kind"), [("clicked", "click"), ("is_liked", "like"), ("Bought", "purchase")])
def test_a_flag_called_like_an_event_stops_the_guess(tmp_path: Path, column: str, kind: str, cells: list[str]) -> None:
    """Regression: every row of clicks.csv was a click, those with clicked 0 too."""
    sources = rows(tmp_path, column, cells, "clicks.csv")
    with pytest.raises(UnclearMap, match=f"event_type: {column.lower()} says yes in some rows") as unclear:
        make_plan(sources)
    own = tmp_path / "own.yaml"
    lines = str(unclear.value).split("for example\n")[1].split("\nand give it")[0].split("\n")
    own.write_text("\n".join(line[2:] for line in lines))
    chosen = make_plan(Sources(sources.events, map=own)).chosen.interactions.event_type
    assert list(chosen.map) == [kind]
    assert len(chosen.leave_out) == 1


@pytest.mark.parametrize("column", ["watch_minutes", "minutes_watched", "watched_ms"])
def test_columns_of_another_unit_are_not_proposed_as_seconds(tmp_path: Path, column: str) -> None:
    """Regression: minutes and milliseconds were proposed, and a map that names the value alone had lost the type."""
    sources = rows(tmp_path, column, ["3", "17"])
    with pytest.raises(UnclearMap, match=f"{column} says another unit: bring it to seconds before") as unclear:
        make_plan(sources)
    assert "value: COLUMN" in str(unclear.value)
    own = tmp_path / "own.yaml"
    own.write_text(f"interactions: {{value: {column}}}")
    assert make_plan(Sources(sources.events, map=own)).chosen.interactions.event_type.constant == "watch"

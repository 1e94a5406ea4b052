"""Ratings that are not from 0.5 to 5: the scale that is seen, the note that tells it, and when it is asked for."""

from pathlib import Path

import numpy as np
import pytest

from data.dataset import load_dataset
from data.mapping.guessing.rating_scale import rating_scale
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, UnclearMap, make_plan


def write(folder: Path, ratings: list[float]) -> Sources:
    rows = "".join(f"u{n % 7},m{n % 5},{one:g},{1_700_000_000 + n}\n" for n, one in enumerate(ratings))
    (folder / "r.csv").write_text("user,movie,rating,timestamp\n" + rows)
    return Sources(str(folder / "r.csv"))


@pytest.mark.parametrize(
    ("ratings", "scale"),
    [
        ([0, 1], (0, 1)),
        ([-1, 1], (-1, 1)),
        ([-1, 0, 1], (-1, 1)),
        ([-2, -1, 0, 1, 2], (-2, 2)),
        ([0.02, 0.3, 0.55, 0.97], (0, 1)),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], (1, 10)),
        ([0, 2, 5, 10], (0, 10)),
        ([2, 50, 75, 100], (1, 100)),
        ([0, 50, 75, 99], (0, 100)),
        ([0, 1, 2, 3, 4, 5], (0, 5)),
        ([1, 2, 3, 4, 5], (0.5, 5)),
        ([0.5, 2, 4.5], (0.5, 5)),
        ([4, 5], (0.5, 5)),
        ([-9.8, 2.5, 9.7], (-10, 10)),
    ],
)
def test_the_scale_is_the_usual_one_that_the_numbers_are_on(ratings: list[float], scale: tuple[float, float]) -> None:
    """Regression: 0 and 1 were taken for 0 to 5, so that both were a no, and -1 was refused."""
    found = rating_scale(np.array(ratings * 40, float))
    assert found is not None
    assert (found.low, found.high, found.n_beyond) == (*scale, 0)


@pytest.mark.parametrize(
    "rare", [[0] * 1 + [1] * 399, [-1] * 1 + [1] * 399, [0] * 399 + [1], [0, *range(1, 11)] + [1, 9] * 99]
)
def test_a_rare_no_is_no_outlier(rare: list[float]) -> None:
    found = rating_scale(np.array(rare, float))
    assert found is not None
    assert found.n_beyond == 0


@pytest.mark.parametrize(
    ("ratings", "outliers", "scale"),
    [
        ([1, 2, 3, 4, 5], [50], (0.5, 5)),
        ([1, 2, 3, 4, 5], [-1, 0, 10, 100], (0.5, 5)),
        ([1, 4, 7, 10], [100], (1, 10)),
        ([0, 1], [7], (0, 1)),
        ([-1, 1], [9], (-1, 1)),
    ],
)
def test_a_few_outliers_set_no_scale(ratings: list[float], outliers: list[float], scale: tuple[float, float]) -> None:
    """Regression: one 50 among stars made the scale 1 to 100, and every star a no."""
    found = rating_scale(np.array(ratings * 200 + outliers, float))
    assert found is not None
    assert (found.low, found.high, found.n_beyond) == (*scale, len(outliers))


@pytest.mark.parametrize(
    "ratings",
    [
        [1] * 20,
        [0] * 20,
        [-1, 0] * 10,
        [80, 90, 100] * 10,
        [0, 1, 2, 3] * 10,
        [-1, 1, 2, 3, 4, 5] * 10,
        [1, 2, 3, 4, 5] * 10 + [50],
        [1, 2, 3, 4, 5] * 10 + [100],
        [1, 2, 3, 4, 8] * 10,
    ],
)
def test_a_scale_that_is_not_clear_is_asked_for(tmp_path: Path, ratings: list[float]) -> None:
    sources = write(tmp_path, ratings)
    with pytest.raises(UnclearMap, match=r"interactions\.value: rating has ratings from .* not clear on which scale"):
        make_plan(sources)


def test_the_example_of_an_unclear_scale_is_a_map_that_can_be_taken(tmp_path: Path) -> None:
    sources = write(tmp_path, [0, 1, 2, 3] * 10)
    with pytest.raises(UnclearMap) as unclear:
        make_plan(sources)
    own = tmp_path / "own.yaml"
    lines = str(unclear.value).split("for example\n")[1].split("\nand give it")[0].split("\n")
    own.write_text("\n".join(line[2:] for line in lines))
    chosen = make_plan(Sources(sources.events, map=own)).chosen.interactions
    assert chosen.event_type.constant == "rating"  # Regression: a map that names the value alone lost the type
    assert chosen.value is not None
    assert chosen.value.scale == (0, 3)


def test_note_scale_and_what_is_stored_agree(tmp_path: Path) -> None:
    plan = make_plan(write(tmp_path, [-1, 1] * 200 + [9]))
    assert "  note: ratings from -1 to 1 are brought to 0.5 to 5" in plan.lines
    assert "  note: ratings from -1 to 1: 1 of the first 401 lie beyond and are refused" in plan.lines
    found = import_tables(plan, tmp_path / "processed", tmp_path / "refused.jsonl")
    assert set(load_dataset(tmp_path / "processed").interactions["value"]) == {0.5, 5.0}
    assert found.refusals.rows == 1
    assert "row 402, column rating: is outside of the scale -1 to 1" in found.refusals.first[0]

"""A ranker's text that somebody has changed is refused before LightGBM, which would crash or never end, reads it."""

import numpy as np
import pytest

from models.ranking.features import FEATURES
from models.ranking.model_text import check_model_text
from models.ranking.ranker import Ranker, RankerError, RankerParameters, fit_ranker


@pytest.fixture(scope="module")
def text() -> str:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(2000, len(FEATURES))).astype(np.float32)
    gains = (features[:, 0] + generator.normal(size=2000) > 1).astype(np.float32)
    parameters = RankerParameters(trees=3, leaves=5, smallest_leaf=5)
    return fit_ranker(features, gains, np.full(20, 100), parameters, seed=0).text


def changed(text: str, field: str, place: int, value: str) -> str:
    """The text with another value in that place of the first line of a field, and sizes that fit."""
    lines = text.split("\n")
    number = next(number for number, line in enumerate(lines) if line.startswith(f"{field}="))
    values = lines[number].partition("=")[2].split(" ")
    values[place] = value
    lines[number] = f"{field}={' '.join(values)}"
    return with_sizes("\n".join(lines)) if field != "tree_sizes" else "\n".join(lines)


def with_sizes(text: str) -> str:
    head, _, rest = text.partition("\n\nTree=")
    trees, end, after = rest.partition("end of trees")
    blocks = [f"Tree={block}" for block in trees.split("Tree=")]
    lines = [line for line in head.split("\n") if not line.startswith("tree_sizes=")]
    sizes = " ".join(str(len(block)) for block in blocks)
    return "\n".join([*lines, f"tree_sizes={sizes}", "", ""]) + "".join(blocks) + end + after


def test_what_training_writes_is_taken(text: str) -> None:
    check_model_text(text, len(FEATURES))
    check_model_text(with_sizes(text), len(FEATURES))


@pytest.mark.parametrize(
    ("field", "place", "value", "words"),
    [
        ("split_feature", 0, "1000000", "split_feature names a feature"),
        ("split_feature", 1, "-7", "split_feature names a feature"),
        ("left_child", 0, "0", "leads back"),
        ("left_child", 1, "0", "leads back"),
        ("left_child", 0, "100000000", "each node and each leaf once"),
        ("right_child", 1, "-100000000", "each node and each leaf once"),
        ("num_leaves", 0, "1000000000", "num_leaves must be"),
        ("num_leaves", 0, "-1", "num_leaves must be"),
        ("num_leaves", 0, "4", "holds 5 values, expected 4"),
        ("num_leaves", 0, "99999999999999999999", "whole numbers"),
        ("num_cat", 0, "1000000000", "num_cat must be"),
        ("num_cat", 0, "1", "cat_boundaries is missing"),
        ("decision_type", 0, "1", "names categories that there are not"),
        ("threshold", 0, "nan", "threshold is no number"),
        ("leaf_value", 0, "inf", "not finite"),
        ("is_linear", 0, "1", "is_linear must be 0"),
        ("num_class", 0, "100000000", "num_class must be 1"),
        ("max_feature_idx", 0, "2000000000", "2000000001 features, expected"),
        ("tree_sizes", 0, "680000000", "does not fit tree 0"),
        ("tree_sizes", 1, "-5", "does not fit tree 1"),
        ("tree_sizes", 0, "", "whole numbers"),
    ],
)
def test_every_field_that_could_crash_is_refused_by_name(
    text: str, field: str, place: int, value: str, words: str
) -> None:
    with pytest.raises(RankerError, match=words):
        Ranker(changed(text, field, place, value))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_text_that_was_cut_off_is_refused(text: str, share: float) -> None:
    cut = text[: int(text.index("end of trees") * share)]
    with pytest.raises(RankerError, match="no LightGBM model"):
        Ranker(cut)


def test_a_field_that_stands_twice_is_refused(text: str) -> None:
    doubled = with_sizes(text.replace("num_cat=0\n", "num_cat=0\nnum_cat=0\n", 1))
    with pytest.raises(RankerError, match="num_cat stands twice"):
        Ranker(doubled)

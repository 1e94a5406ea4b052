import numpy as np
import pytest

from data.matrix import pairs_to_csr, pairs_to_mask
from data.vocabulary import Vocabulary, build_vocabulary


def test_integers_are_in_numeric_order_and_other_texts_come_last() -> None:
    vocabulary = build_vocabulary(["10", "9", "x", "-3", "9", "٣"], "int")
    assert vocabulary.ids.tolist() == ["-3", "9", "10", "x", "٣"]


def test_texts_are_in_code_point_order() -> None:
    assert build_vocabulary(["10", "9", "b", "B"], "str").ids.tolist() == ["10", "9", "B", "b"]


def test_texts_that_read_as_one_number_stay_apart() -> None:
    assert build_vocabulary(["07", "7"], "int").ids.tolist() == ["07", "7"]


def test_encode_gives_positions_and_minus_one() -> None:
    vocabulary = build_vocabulary(["3", "1", "2"], "int")
    assert vocabulary.encode(["2", "4", "1"]).tolist() == [1, -1, 0]
    assert len(vocabulary) == 3


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' appears twice"):
        Vocabulary(np.array(["a", "a"], dtype=object))


def test_the_matrix_holds_positive_weights_and_the_mask_every_pair() -> None:
    users, items, weights = np.array([1, 0, 1]), np.array([2, 0, 0]), np.array([0.5, 1.0, 0.0])
    matrix = pairs_to_csr(users, items, weights, 2, 3)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix.toarray(), [[1, 0, 0], [0, 0, 0.5]])
    assert matrix.nnz == 2
    mask = pairs_to_mask(np.append(users, 1), np.append(items, 2), 2, 3)
    np.testing.assert_array_equal(mask.toarray(), [[1, 0, 0], [1, 0, 1]])

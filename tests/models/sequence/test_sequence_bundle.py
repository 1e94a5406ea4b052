"""A sequence model in its bundle, and the lists that it gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle.arrays import MANIFEST, SEQUENCE, BundleError, content_hash
from models.bundle.reading import Bundle, load_bundle
from models.bundle.writing import write_bundle
from models.retrieval.candidates import CandidateModel, Source
from models.retrieval.query import Query
from models.retrieval.shelf import Shelf, ShelfBuilder, ShelfItem
from models.sequence.encoder import SequenceEncoder
from tests.models.sequence.chains import SMALL, sequence_contents, sequence_fields


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(write_bundle(tmp_path, sequence_contents(), sequence_fields()))


@pytest.fixture
def shelf(bundle: Bundle) -> Shelf:
    builder = ShelfBuilder([one.encode() for one in bundle.item_ids], bundle.item_counts, bundle.item_factors)
    builder.update([ShelfItem(one.encode(), ("War",), True, 0) for one in bundle.item_ids])
    return builder.shelf()


def asked(sequence: list[int], n: int = 5, **rest: object) -> Query:
    items = np.unique(np.array(sequence, np.int64))
    given = Query(items, np.ones(len(items), np.float32), items, n, sequence=np.array(sequence, np.int64))
    return replace(given, **rest)


def test_what_is_written_is_read_and_the_manifest_says_what_it_is(bundle: Bundle) -> None:
    given = sequence_contents()
    assert bundle.sequence is not None
    assert given.sequence is not None
    assert set(bundle.sequence.weights) == set(given.sequence.weights)
    for name, array in given.sequence.weights.items():
        np.testing.assert_array_equal(bundle.sequence.weights[name], array)
    said = json.loads((bundle.path / MANIFEST).read_text())
    assert said["sequence"]["parameters"]["length"] == SMALL.length
    assert said["parameters"] is None
    assert SEQUENCE in said["files"]


def test_the_hash_knows_the_network(bundle: Bundle) -> None:
    given = sequence_contents()
    assert given.sequence is not None
    weights = {**given.sequence.weights, "last_shift": given.sequence.weights["last_shift"] + np.float32(1)}
    other = replace(given, sequence=replace(given.sequence, weights=weights))
    assert content_hash(other, sequence_fields()) != bundle.manifest.content_hash
    assert content_hash(given, sequence_fields()) == bundle.manifest.content_hash


def test_a_network_that_does_not_fit_its_items_is_refused(tmp_path: Path) -> None:
    given = sequence_contents()
    wide = replace(given, item_factors=np.pad(given.item_factors, ((0, 0), (0, 2))))
    wide = replace(wide, user_factors=np.zeros((30, 10), np.float32), mean_user=np.zeros(10, np.float32))
    with pytest.raises(BundleError, match="expected float32"):
        write_bundle(tmp_path, wide, sequence_fields())


@pytest.mark.parametrize("changes", [{"sequence": None}, {}], ids=["facts without network", "neither"])
def test_facts_and_network_go_together(tmp_path: Path, changes: dict[str, None]) -> None:
    fields = sequence_fields() if changes else sequence_fields().model_copy(update={"sequence": None})
    path = write_bundle(tmp_path, replace(sequence_contents(), sequence=None), fields)
    with pytest.raises(BundleError, match=r"sequence model needs its facts|needs the parameters of the factors"):
        load_bundle(path)


def test_lists_follow_the_order_of_the_events(bundle: Bundle, shelf: Shelf) -> None:
    model = CandidateModel(bundle, 0.5)
    assert bundle.sequence is not None
    encoder = SequenceEncoder(bundle.item_factors, bundle.sequence.weights, SMALL.heads)
    histories = [[1, 2, 3], [3, 2, 1], [1, 2, 3, 4]]
    found = model.retrieve([asked(one) for one in histories], shelf)
    for history, one in zip(histories, found, strict=True):
        scores = bundle.item_factors @ encoder.encode([np.array(history)])[0][0]
        scores[history] = -np.inf
        assert one.items.tolist() == np.argsort(-scores)[:5].tolist()
        assert set(one.sources.tolist()) == {int(Source.SEQUENCE)}
        assert not one.cold_start
        assert one.folded == 0  # there is no ranker whose order counts
    assert found[0].items.tolist() != found[2].items.tolist()


def test_a_user_without_history_gets_the_trained_vector_or_what_is_popular(bundle: Bundle, shelf: Shelf) -> None:
    model = CandidateModel(bundle, 0.5)
    trained, new = model.retrieve([asked([], trained_user=3), asked([])], shelf)
    assert trained.items.tolist() == np.argsort(-bundle.item_factors @ bundle.user_factors[3])[:5].tolist()
    assert set(trained.sources.tolist()) == {int(Source.TRAINED)}
    assert new.cold_start
    assert len(new.items) == 5


def test_an_item_that_was_not_learned_is_no_candidate(tmp_path: Path, shelf: Shelf) -> None:
    given = sequence_contents()
    factors = given.item_factors.copy()
    factors[7] = 0
    model = CandidateModel(
        load_bundle(write_bundle(tmp_path / "other", replace(given, item_factors=factors), sequence_fields())), 0.5
    )
    [found] = model.retrieve([asked([1, 2], n=20)], shelf)
    personal = found.items[found.sources == Source.SEQUENCE].tolist()
    assert 7 not in personal
    assert len(personal) == 17


def test_no_reasons_are_made_up(bundle: Bundle, shelf: Shelf) -> None:
    model = CandidateModel(bundle, 0.5)
    [found] = model.retrieve([asked([1, 2])], shelf)
    assert model.explain(asked([1, 2]), found.items, 3) == [[]] * 5

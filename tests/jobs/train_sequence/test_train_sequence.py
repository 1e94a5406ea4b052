"""The command that trains a sequence model, on a small data set and a real store."""

from dataclasses import replace

import numpy as np
import pytest

from configs.settings import Settings
from data.dataset import DataError, load_dataset, processed_dir
from features.serving.slots import CHALLENGER, CHAMPION
from jobs.batch.serving_stage import catalogue_of, read_catalogue
from jobs.launch import training_command
from jobs.train.erasures import current_erasures
from jobs.train.load_data import load_training_data
from jobs.train.store_calls import current_slots
from jobs.train_sequence import train_sequence as module
from jobs.train_sequence.sequence_bundle import write_sequence_bundle
from jobs.train_sequence.train_sequence import SequenceOptions, main, parse_options, train_sequence
from models.bundle.reading import load_bundle
from models.retrieval.candidates import CandidateModel, Source
from models.retrieval.query import Query
from models.retrieval.shelf import ShelfBuilder, ShelfItem
from models.sequence.histories import sequence_of
from models.sequence.parameters import SequenceParameters
from models.sequence.training import FittedSequence, SequenceUnavailableError
from models.sequence.weights import shapes
from models.training.bundle_stage import stage_of_bundle
from models.training.first_stage import find_candidates
from models.training.past_requests import Past, in_store_order
from models.training.stage_histories import request_interest
from tests.jobs.job_data import two_tastes, write_interactions
from tests.jobs.retraining import Lines

TINY = SequenceOptions(
    SequenceParameters(dimensions=8, blocks=1, heads=1, length=8, tokens=256, steps=60, rounds=1, learning_rate=0.01)
)


def test_it_serves_as_challenger_and_takes_the_champion_s_place_only_through_the_gate(with_store: Settings) -> None:
    pytest.importorskip("jax", reason="the extra `sequence` is not installed")
    lines = Lines()
    first = train_sequence(with_store, replace(TINY, slot=CHAMPION), lines)
    assert current_slots(with_store)[CHAMPION].version == first.manifest.version
    assert any("NDCG@10" in line for line in lines)
    bundle = load_bundle(first.path)
    assert bundle.sequence is not None
    assert bundle.manifest.metrics["latest_users"] > 10
    # Everybody's trained vector likes what is of the own parity, as in the data.
    order = np.argsort(-bundle.user_factors @ bundle.item_factors.T, axis=1)[:, :5]
    likes = np.array([int(item) % 2 for item in bundle.item_ids])[order]
    own = np.array([int(user) % 2 for user in bundle.user_ids])[:, None]
    assert (likes == own).mean() > 0.75

    second = train_sequence(with_store, TINY, Lines())
    assert current_slots(with_store)[CHALLENGER].version == second.manifest.version
    assert current_slots(with_store)[CHAMPION].version == first.manifest.version
    assert second.manifest.content_hash == first.manifest.content_hash
    assert not second.verdict.promote  # the same recipe and the same events: nothing tells them apart
    assert module._slot(replace(TINY, slot=CHAMPION), second.verdict) is None
    assert module._slot(replace(TINY, slot=CHAMPION, force=True), second.verdict) == CHAMPION


def test_training_judges_the_lists_that_serving_gives(with_store: Settings) -> None:
    """The bundle as a first stage over past events, and as serving holds it, on the same histories."""
    erasures = current_erasures(with_store)
    data = in_store_order(load_training_data(with_store, erasures))
    dataset = load_dataset(processed_dir(with_store), in_memory=False)
    catalogue = catalogue_of(data, read_catalogue(with_store), dataset, with_store.data.item_attributes)
    generator = np.random.default_rng(0)
    shape = {"length": 8, "dimensions": 8, "blocks": 2}
    weights = {name: generator.normal(0, 0.5, size).astype(np.float32) for name, size in shapes(**shape).items()}
    factors = generator.normal(0, 0.5, (len(data.items), 8)).astype(np.float32)
    fitted = FittedSequence(SequenceParameters(**shape), factors, weights, 1)
    bundle = load_bundle(write_sequence_bundle(data, with_store, fitted, 0, {}))
    stage = stage_of_bundle(bundle, data, catalogue, 0.5)
    users = np.arange(len(data.users))
    end = np.full(len(users), len(data)), np.full(len(users), float(data.times_ms.max()))
    requests = Past(data).requests(users, *end)
    found = find_candidates(stage, requests, 5)
    builder = ShelfBuilder([one.encode() for one in bundle.item_ids], bundle.item_counts, bundle.item_factors)
    builder.update([ShelfItem(one.encode(), (), True, 0) for one in bundle.item_ids])
    queries = []
    for rows, items, weight in zip(requests.rows, *request_interest(stage, requests), strict=True):
        speaking = items[weight > 0]
        sequence = sequence_of(data.item[rows], speaking, 8)
        queries.append(Query(speaking, weight[weight > 0], np.unique(data.item[rows]), 5, sequence=sequence))
    served = CandidateModel(bundle, 0.5).retrieve(queries, builder.shelf())
    assert [one.items.tolist() for one in served] == found.items.tolist()
    assert found.sources is not None
    assert {int(one) for one in found.sources.ravel()} == {int(Source.SEQUENCE)}


def test_data_without_an_order_is_refused(with_store: Settings) -> None:
    pytest.importorskip("jax", reason="the extra `sequence` is not installed")
    write_interactions(with_store, two_tastes(), time_trusted=False)
    with pytest.raises(DataError, match="do not say what came before what"):
        train_sequence(with_store, TINY, Lines())
    assert current_slots(with_store) == {}


def test_one_event_a_user_is_refused(with_store: Settings) -> None:
    pytest.importorskip("jax", reason="the extra `sequence` is not installed")
    write_interactions(with_store, two_tastes().drop_duplicates("user_id"))
    with pytest.raises(DataError, match="no user has two events in a row"):
        train_sequence(with_store, TINY, Lines())


def test_without_the_extra_the_command_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def missing() -> None:
        raise SequenceUnavailableError("install requirements-sequence.lock")

    monkeypatch.setattr(training_command, "load_settings", lambda: settings)
    monkeypatch.setattr(training_command, "step_back", lambda: None)
    monkeypatch.setattr(module, "require_jax", missing)
    assert main([]) == 1
    assert capsys.readouterr().err == "train_sequence: install requirements-sequence.lock\n"


def test_options_are_checked(settings: Settings, capsys: pytest.CaptureFixture) -> None:
    given = parse_options(["--heads", "4", "--slot", "none", "--seed", "7"], settings)
    assert (given.parameters.heads, given.slot, given.seed) == (4, None, 7)
    short = settings.model_copy(update={"store": settings.store.model_copy(update={"history_limit": 50})})
    assert parse_options([], short).parameters.length == 50  # no more is kept of a user
    for wrong, said in ((["--heads", "3"], "heads: 3 do not divide"), (["--length", "1"], "--length")):
        with pytest.raises(SystemExit):
            parse_options(wrong, settings)
        assert said in capsys.readouterr().err

"""A model version as the target policy: against the code that serves, and against worlds whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from configs.settings import Settings
from data.dataset import DataError
from data.event_log import EventLog
from data.log_tables import SCHEMAS
from deployments.recommend.loaded_model import LoadedModel
from deployments.recommend.messages import Answer, Reply
from deployments.recommend.ranked_list import RankedList, explore, rank
from experiments.policy_value import OffPolicyValue, off_policy_value
from features.items.catalogue import Item
from jobs.evaluate import off_policy
from jobs.evaluate.target_policy import Target, chances, load_target, requests_at
from jobs.train.retrain import RetrainOptions, retrain
from models.bundle.reading import load_bundle
from models.factors.als import AlsParameters
from models.ranking.ranker import RankerParameters, fit_ranker
from models.retrieval.query import Query
from models.training.first_stage import find_candidates
from models.training.ranker_lists import request_features, rerank
from tests.jobs.job_data import two_tastes

STRONG = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)
WEAK = AlsParameters(factors=2, regularization=50.0, alpha=1.0, iterations=1)
START_MS = 10_000_000
SHARE, TOP_K, CANDIDATES = 0.3, 4, 12


@pytest.fixture
def exploring(with_store: Settings) -> Settings:
    serving = with_store.serving.model_copy(update={"exploration": SHARE, "candidates": CANDIDATES})
    training = with_store.training.model_copy(update={"ranker": False})
    return with_store.model_copy(update={"serving": serving, "training": training})


def train(settings: Settings, parameters: AlsParameters) -> str:
    return retrain(settings, RetrainOptions(fixed=parameters, force=True), lambda percent, line: None).version


class Server:
    """One version answers, by the code that serves; what users tell it is kept in plain Python."""

    def __init__(self, settings: Settings, version: str) -> None:
        bundle = load_bundle(settings.bundles_dir / version)
        items = [Item(item, item) for item in bundle.item_ids.tolist()]
        self._loaded = LoadedModel(bundle, settings.serving.prior_weight, items)
        self._generator = np.random.default_rng(7)
        self.version = version
        self.weights: dict[str, dict[str, float]] = {}
        self.seen: dict[str, set[str]] = {}
        for user, item, _, value, _ in two_tastes().itertuples(index=False):
            self.rated(user, item, value)

    def rated(self, user: str, item: str, value: float) -> None:
        self.seen.setdefault(user, set()).add(item)
        self.weights.setdefault(user, {})[item] = 1.0 if value >= 4 else 0.0

    def clicked(self, user: str, item: str) -> None:
        mine = self.weights[user]
        mine[item] = max(mine.get(item, 0.0), 0.3)

    def answer(self, user: str) -> RankedList:
        place = self._loaded.builder.table.find_one
        liked = {place(item.encode()): weight for item, weight in self.weights[user].items() if weight > 0}
        query = Query(
            items=np.array(sorted(liked)),
            weights=np.array([liked[item] for item in sorted(liked)], np.float32),
            exclude=np.array([place(item.encode()) for item in self.seen[user]]),
            n=CANDIDATES,
        )
        [found] = self._loaded.model.retrieve([query], self._loaded.shelf)
        ids = b"\n".join([self._loaded.builder.ids[item] for item in found.items.tolist()])
        answer = Answer(ids, found.scores.tobytes(), found.sources.tobytes(), False, found.folded, b"", ())
        ranked = rank(Reply(self.version, "int", 0, [answer]), answer, None, TOP_K, 0.0, pooled=True)
        return explore(ranked, SHARE, self._generator)


def serve(settings: Settings, server: Server, rounds: int) -> None:
    """Users look, click, rate and look again; lists and events go into the log."""
    lists, events = [], []
    now_ms, generator = START_MS, np.random.default_rng(1)
    for turn in range(rounds):
        for number in range(40):
            user, now_ms = str(number), now_ms + 1000
            shown = server.answer(user)
            row = {"user_id": user, "recommendation_id": f"r{user}-{turn}", "partition": 0, "simulated": True}
            row |= {"stream_id": f"{now_ms}-0", "time_ms": now_ms, "before": turn}
            lists.append({**row, "item_ids": shown.item_ids, "propensities": shown.propensities})
            item, rates = shown.item_ids[int(generator.integers(TOP_K))], generator.random() < 0.5
            event = {**row, "event_id": f"e{user}-{turn}", "item_id": item, "received_ms": now_ms + 1}
            event |= {"timestamp_ms": now_ms + 1, "event_type": "rating" if rates else "click"}
            events.append({**event, "value": float(generator.choice([1, 5])) if rates else None})
            if rates:
                server.rated(user, item, events[-1]["value"])
            else:
                server.clicked(user, item)
    log = EventLog(settings.log_dir)
    log.write_part("exposures", 0, pa.Table.from_pylist(lists, SCHEMAS["exposures"]))
    log.write_part("events", 0, pa.Table.from_pylist(events, SCHEMAS["events"]))


def test_what_a_version_served_has_the_probability_that_was_logged(
    exploring: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Through clicks, which leave an item on the list, and ratings, which do not, or refuse it."""
    version = train(exploring, STRONG)
    serve(exploring, Server(exploring, version), 6)
    log = EventLog(exploring.log_dir)
    lists = off_policy.read_lists(log, load_target(exploring, None, True).stage.data.types, off_policy.CLICK, True)
    found = chances(load_target(exploring, version, True), lists.users, lists.times_ms, lists.items, lists.lengths)
    assert found == pytest.approx(lists.propensity)
    assert len(np.unique(lists.propensity)) == 2, "drawn ones and ranked ones"
    # So such a version is worth what its lists have earned, in every unit of the report.
    monkeypatch.setattr(off_policy, "load_settings", lambda: exploring)
    assert off_policy.main(["--simulated", "--version", "champion"]) == 0
    report = json.loads(capsys.readouterr().out)
    judged, logged = report["version"], report["logged"]
    assert (judged["version"], judged["exploration"], judged["without_history"]) == (version, SHARE, 0)
    assert (judged["support"], judged["supported"], judged["rows"]) == (1.0, 240, 240)
    assert judged["effective_sample_size"] == pytest.approx(240)
    assert judged["ips"]["value"] == pytest.approx(logged["ips"]["value"])
    assert judged["ips"]["interval"] == pytest.approx(logged["ips"]["interval"])


def test_lists_that_the_version_has_learned_from_are_left_out(exploring: Settings) -> None:
    """Regression: it had learned what came of them."""
    version = train(exploring, STRONG)
    serve(exploring, Server(exploring, version), 2)
    target = load_target(exploring, version, True)
    lists = off_policy.read_lists(EventLog(exploring.log_dir), target.stage.data.types, off_policy.CLICK, True)
    n = len(lists.users)
    early = np.arange(n) % 2 == 0
    found = off_policy.judge(
        exploring, replace(lists, times_ms=np.where(early, target.learned_ms, lists.times_ms)), version, True
    )
    assert (found["too_early"], found["rows"]) == (early.sum(), n - early.sum())
    with pytest.raises(DataError, match=f"no list was shown after the newest event that {version} learned from"):
        off_policy.judge(exploring, replace(lists, times_ms=np.full(n, target.learned_ms)), version, True)


class World:
    """Two versions, every list that either would make, and how likely each item is taken up."""

    def __init__(self, settings: Settings, length: int, share: float) -> None:
        targets = [load_target(settings, train(settings, one), False) for one in (STRONG, WEAK)]
        self.items = targets[0].stage.data.items.ids
        self.users = np.arange(60).astype(str)
        self.served, self.target = (self._table(replace(one, exploration=share), length) for one in targets)
        generator = np.random.default_rng(2)
        own = np.arange(60)[:, None] % 2 == self.items.astype(int)[None, :] % 2
        self.appeal = np.clip(np.where(own, 0.5, 0.1) + generator.normal(0, 0.05, own.shape), 0.01, 0.99)

    def _table(self, target: Target, length: int) -> np.ndarray:
        users, items = np.repeat(self.users, len(self.items)), np.tile(self.items, len(self.users))
        everywhere = np.full(len(users), START_MS), items, np.full(len(users), length)
        found = chances(replace(target, candidates=40), users, *everywhere).reshape(len(self.users), -1)
        assert found.sum(axis=1) == pytest.approx(1.0)
        return found

    def estimate(self, seed: int, n_users: int = 1500, per_user: int = 4) -> OffPolicyValue:
        """From lists of the version that served, to users each of whom has the taste of one of the 60."""
        generator = np.random.default_rng(seed)
        who = np.repeat(generator.integers(0, 60, n_users), per_user)
        cumulative = self.served[who].cumsum(axis=1)
        item = (generator.random(len(who))[:, None] > cumulative).sum(axis=1).clip(max=len(self.items) - 1)
        reward = (generator.random(len(who)) < self.appeal[who, item]).astype(float)
        baseline = np.full(len(who), 0.3)
        return off_policy_value(
            reward,
            self.served[who, item],
            self.target[who, item],
            model_reward=baseline,
            target_value=baseline,
            users=np.repeat(np.arange(n_users), per_user),
        )


def test_the_truth_is_inside_the_interval_where_the_log_supports_the_target(exploring: Settings) -> None:
    world = World(exploring, 1, 0.6)
    truth = float((world.target * world.appeal).sum(axis=1).mean())
    served = float((world.served * world.appeal).sum(axis=1).mean())
    assert served > truth + 0.02, "the weak version is worse, or this shows nothing"
    runs = [world.estimate(seed) for seed in range(500)]
    effective = np.mean([value.effective_sample_size for value in runs])
    print(f"effective sample size {effective:.0f} of {runs[0].rows}")
    for name in ("ips", "snips", "doubly_robust"):
        estimates = [getattr(value, name) for value in runs]
        inside = np.mean([one.interval[0] <= truth <= one.interval[1] for one in estimates])
        mean = np.mean([one.value for one in estimates])
        print(f"a version's {name}: truth {truth:.4f}, mean estimate {mean:.4f}, inside {inside:.3f}")
        assert inside >= 0.93
        assert mean == pytest.approx(truth, abs=0.004)
    assert np.mean([value.mean_weight for value in runs]) == pytest.approx(1.0, abs=0.01)


def test_what_the_log_could_not_show_is_missing_from_the_weights(exploring: Settings) -> None:
    """Further up in the served list an item never was at the last place: the weights tell how much that is."""
    world = World(exploring, 5, 0.6)
    covered = np.where(world.served > 0, world.target, 0.0)
    share = float(covered.sum(axis=1).mean())
    assert share < 0.95
    runs = [world.estimate(seed) for seed in range(300)]
    assert np.mean([value.mean_weight for value in runs]) == pytest.approx(share, abs=0.01)
    worth = float((covered * world.appeal).sum(axis=1).mean())
    assert np.mean([value.ips.value for value in runs]) == pytest.approx(worth, abs=0.004)
    assert all(value.supported < value.rows for value in runs)
    assert any("the target shows what the log never could" in text for value in runs for text in value.warnings)


def test_without_support_or_history_there_is_no_estimate_and_it_says_why(exploring: Settings) -> None:
    version = train(exploring, STRONG)
    lists = [
        {
            "user_id": user, "recommendation_id": f"r{number}", "partition": 0, "simulated": False,
            "stream_id": f"{number + 1}-0", "time_ms": START_MS, "item_ids": ["0", item], "propensities": [1.0, 0.75],
        }
        for number, (user, item) in enumerate([("1", "unheard of"), ("2", "unheard of"), ("a stranger", "5")])
    ]  # fmt: skip
    log = EventLog(exploring.log_dir)
    log.write_part("exposures", 0, pa.Table.from_pylist(lists, SCHEMAS["exposures"]))
    report = off_policy.report(exploring, off_policy.CLICK, False, SHARE, version)
    judged = report["version"]
    assert isinstance(judged, dict)
    assert (judged["rows"], judged["without_history"], judged["supported"], judged["support"]) == (2, 1, 0, 0.0)
    assert judged["effective_sample_size"] == 0.0
    for name in ("ips", "snips", "doubly_robust"):
        assert judged[name]["value"] is None
        assert judged[name]["reason"] == "no support: the target would show nothing of what was logged"
    strangers = off_policy.read_lists(log, load_target(exploring, version, False).stage.data.types, 1, False)
    alone = off_policy.judge(exploring, strangers.some(np.array([2])), version, False)
    assert (alone["rows"], alone["support"], alone["without_history"]) == (0, None, 1)
    assert alone["ips"] == {"value": None, "standard_error": None, "interval": None, "reason": "no rows"}


def test_a_learned_ranker_orders_the_list(exploring: Settings) -> None:
    plain = load_target(exploring, train(exploring, STRONG), False)
    requests = requests_at(plain, np.arange(60), np.full(60, START_MS))
    candidates = find_candidates(plain.stage, requests, CANDIDATES, 5)
    features = np.concatenate([block for _, block, _ in request_features(plain.stage, requests, candidates)])
    chosen = np.random.default_rng(0).random(len(features)) < 0.2
    lengths = (candidates.items >= 0).sum(axis=1)
    ranker = fit_ranker(features, chosen, lengths, RankerParameters(trees=5, smallest_leaf=10), seed=0)
    best = rerank(plain.stage, ranker, requests, candidates, TOP_K)
    asked = plain.stage.data.users.ids[:60], np.full(60, START_MS), plain.stage.data.items.ids[best[:, -1]]
    ranked = chances(replace(plain, ranker=ranker, trending=5), *asked, np.full(60, TOP_K))
    assert (ranked > 1 - SHARE).all()
    assert (chances(plain, *asked, np.full(60, TOP_K)) < 1 - SHARE).any()


def test_an_unknown_version_is_named(
    exploring: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    row = {"user_id": "1", "recommendation_id": "r", "partition": 0, "simulated": False, "stream_id": "1-0"}
    row |= {"time_ms": START_MS, "item_ids": ["0"], "propensities": [0.95]}
    EventLog(exploring.log_dir).write_part("exposures", 0, pa.Table.from_pylist([row], SCHEMAS["exposures"]))
    monkeypatch.setattr(off_policy, "load_settings", lambda: exploring)
    assert off_policy.main(["--version", "none", "--share", "0.1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("off_policy: ")
    assert "none" in error

import gc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from configs.decay import ACTIVITY_HALF_LIVES_MS
from configs.event_types import load_event_types
from features.users.history import History
from features.users.user_features import UserFeatures
from models.evaluation.metrics import user_metrics
from models.factors.als import AlsParameters
from models.ranking.features import FEATURES
from models.training.first_stage import FirstStage, find_candidates, fit_first_stage
from models.training.item_facts import ItemFacts
from models.training.past_requests import Requests, in_store_order, user_requests, window_requests
from models.training.ranker_judgement import train_second_stage
from models.training.ranker_lists import ranker_rows, request_features, rerank
from models.training.ranker_windows import (
    LATEST,
    RANKER,
    Recipe,
    early_stages,
    early_windows,
    learn,
    lists_before,
    requests_after,
)
from models.training.training_data import TrainingData, in_random_order, training_data_of
from tests.jobs.job_data import two_tastes

PARAMETERS = AlsParameters(factors=8, regularization=2.0, alpha=4.0, iterations=5)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def data() -> TrainingData:
    frame = two_tastes(n_users=120)
    return in_store_order(training_data_of(frame, load_event_types(), "t", ("int", "int"), 0, {}, "0" * 64))


def catalogue(data: TrainingData) -> ItemFacts:
    n = len(data.items)
    return ItemFacts(np.full(n, 1999, np.float32), {"even": np.arange(0, n, 2)})


@pytest.mark.parametrize("ties", ["none", "of each user", "of everybody"])
def test_a_request_sees_its_past_only(ties: str) -> None:
    """The leak test: whatever happens after the request, its candidates and features stay the same. Events of one
    moment have an order too: what comes later in it is not seen, be it the request's own answer or somebody else's."""
    frame = two_tastes(n_users=120)
    if ties == "of each user":
        frame["timestamp_ms"] = frame.groupby("user_id")["timestamp_ms"].transform("max")
    elif ties == "of everybody":
        frame["timestamp_ms"] = 1_000_000_000_000
    data = in_store_order(training_data_of(frame, load_event_types(), "t", ("int", "int"), 0, {}, "0" * 64))
    n = len(data)
    train, window = data.before(0.5), np.flatnonzero(data.turn >= round(0.5 * n))

    def asked(events: TrainingData) -> tuple[FirstStage, Requests]:
        stage = fit_first_stage(events, train, "consumption", PARAMETERS, catalogue(events), 0, 1)
        known = np.ones(len(events.items), bool)
        contexts = (0, 2, 5)
        return stage, window_requests(events, train, window, contexts, {2: 3, 5: 6}, known, "consumption", live=True)

    stage, requests = asked(data)
    turn = round(0.7 * n)  # what comes from here on is changed; a request up to it must not notice
    visible = turn
    early = requests.some(np.flatnonzero(requests.visible <= visible))
    assert 10 < len(early) < len(requests)
    before = [features for _, features, _ in request_features(stage, early, find_candidates(stage, early, 10, 5))]

    later = data.turn >= turn
    changed = data.rows(np.arange(n))
    changed.item[later] = 7
    changed.values[later] = 5.0
    other, again = asked(changed)
    same = again.some(np.flatnonzero(again.visible <= visible))
    # A request is there where something right comes later, so compare those that are in both.
    ours = {(user, seen): place for place, (user, seen) in enumerate(zip(early.user, early.visible, strict=True))}
    both = [(ours[key], place) for place, key in enumerate(zip(same.user, same.visible, strict=True)) if key in ours]
    assert len(both) > 10
    mine, theirs = (np.array(numbers) for numbers in zip(*both, strict=True))
    early, same = early.some(mine), same.some(theirs)
    candidates = find_candidates(stage, early, 10, 5)
    np.testing.assert_array_equal(candidates.items, find_candidates(other, same, 10, 5).items)
    before = [features for _, features, _ in request_features(stage, early, candidates)]
    after = [features for _, features, _ in request_features(other, same, find_candidates(other, same, 10, 5))]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(after))


def test_a_request_comes_at_the_moment_of_the_next_event_and_before_it(data: TrainingData) -> None:
    train, window = data.before(0.5), np.flatnonzero(data.turn >= round(0.5 * len(data)))
    known = np.ones(len(data.items), bool)
    requests = window_requests(data, train, window, (2,), {}, known, "consumption", live=True)
    for user, at_ms, rows, visible in zip(
        requests.user.tolist(), requests.at_ms.tolist(), requests.rows, requests.visible.tolist(), strict=True
    ):
        mine = np.flatnonzero(data.user == user)
        mine = mine[np.argsort(data.turn[mine])]
        following = mine[len(rows)]
        assert set(rows.tolist()) == set(mine[: len(rows)].tolist())
        assert at_ms == data.times_ms[following]
        assert visible == data.turn[following]


def test_with_a_horizon_visits_ask_and_what_comes_so_soon_is_right() -> None:
    """Three baskets of three, the second a day after the first and the third a week later: one request for each that
    begins at a context or after it, and within two days the first two belong together."""
    rows = [("u", f"i{n}", 1000 * n) for n in range(2)]
    moments = [10 * DAY_MS, 11 * DAY_MS, 18 * DAY_MS]
    rows += [("u", f"i{3 * visit + n}", moment + 60_000 * n) for visit, moment in enumerate(moments) for n in range(3)]
    rows += [("v", f"i{n}", 2000 + n) for n in range(9)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp_ms"])
    frame = frame.assign(event_type="purchase", value=np.float32("nan"))
    data = in_store_order(training_data_of(frame, load_event_types("groceries"), "t", ("str", "str"), 0, {}, ""))
    train, window = np.flatnonzero(data.times_ms < DAY_MS), np.flatnonzero(data.times_ms >= DAY_MS)

    def asked(contexts: tuple[int, ...] | None, horizon_s: float | None) -> dict[int, list[str]]:
        """What is right, by how many events came before."""
        known = np.ones(len(data.items), bool)
        found = window_requests(data, train, window, contexts, {}, known, "preference", horizon=5, horizon_s=horizon_s)
        right = [data.items.ids[row.indices].tolist() for row in found.relevant]
        assert found.user.tolist() == [0] * len(right)
        return dict(zip([len(mine) for mine in found.rows], right, strict=True))

    names = [f"i{n}" for n in range(9)]
    assert asked((0, 1, 3, 4, 7), 2 * 86_400) == {2: names[:6], 5: names[3:6], 8: names[6:]}
    assert asked((0,), 60) == {2: names[:2]}
    assert asked((0,), None) == {2: names[:5]}
    assert asked(None, None) == {2 + done: names[done : done + 5] for done in range(9)}
    assert asked(None, 60) == {2: names[:2], 5: names[3:5], 8: names[6:8]}


def test_without_an_order_every_window_is_another_tenth_of_the_same_events(data: TrainingData) -> None:
    """Nothing of the judged window is learned, and each first stage knows nearly all of the rest."""
    recipe = Recipe("consumption", PARAMETERS, 0.5, 20, 5)

    def events(rows: TrainingData, chosen: np.ndarray) -> set[tuple[int, int]]:
        return set(zip(rows.user[chosen].tolist(), rows.item[chosen].tolist(), strict=True))

    early = events(data, data.before(LATEST))
    held: list[set[tuple[int, int]]] = []
    for window, stage in early_stages(replace(data, time_trusted=False), catalogue(data), recipe, LATEST, 0, 1):
        assert window == (0.81, LATEST)
        assert events(stage.data, stage.data.before(LATEST)) == early
        held.append(early - events(stage.data, stage.data.before(window[0])))
        assert len(held[-1]) == round(0.9 * len(data)) - round(0.81 * len(data))
        requests = requests_after(stage, *window, (0,))
        assert requests.relevant.nnz > 0.9 * len(held[-1])
    assert len(held) == 4
    assert len(held[0] & held[1]) < 0.3 * len(held[0])
    logged = replace(data, log_events=len(data) // 2)
    late = data.turn >= len(data) - logged.log_events
    dealt = in_random_order(logged, 0)
    np.testing.assert_array_equal(dealt.times_ms[late], data.times_ms[late])
    assert (dealt.turn[~late] != data.turn[~late]).mean() > 0.9
    assert len(np.unique(dealt.times_ms[~late])) == 1


def test_what_serving_shows_again_can_be_right_again() -> None:
    """In a shop a view leaves nothing out: view A, then buy A is a success for A. What was bought is left out there."""
    rows = [
        ("u", "a", "view"),
        ("u", "b", "purchase"),
        ("u", "a", "purchase"),
        ("u", "b", "purchase"),
        ("u", "c", "view"),
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "event_type"])
    frame = frame.assign(value=np.float32("nan"), timestamp_ms=np.arange(5) * 1000)
    other = pd.DataFrame([("v", "a", "view", np.float32("nan"), 0)], columns=frame.columns)
    for preset, right in (("shops", {"a", "b", "c"}), ("movies", {"a", "c"})):
        types = load_event_types(preset)
        data = in_store_order(training_data_of(pd.concat([frame, other]), types, "t", ("str", "str"), 0, {}, ""))
        order = np.argsort(data.turn)
        known = np.ones(len(data.items), bool)
        requests = window_requests(data, order[:3], order[3:], (0,), {}, known, "preference")
        gains = requests.relevant.toarray()[0]
        assert {str(data.items.ids[item]) for item in np.flatnonzero(gains)} == right
        a, c = data.items.encode(["a", "c"]).tolist()
        assert gains[a] > gains[c], "a purchase counts more than a view"


def test_features_are_those_of_the_online_store(data: TrainingData) -> None:
    """What the store keeps of a user, computed by its own reader, is what training computes from the events."""
    import struct

    from configs.decay import ACTIVITY_HALF_LIVES_MS, AFFINITY_HALF_LIFE_MS

    requests = user_requests(data, np.arange(len(data)), sp.csr_matrix(np.eye(120, len(data.items), dtype=np.float32)))
    stage = fit_first_stage(data, np.arange(len(data)), "preference", PARAMETERS, catalogue(data), 0, 1)
    [(_, features, lengths)] = list(request_features(stage, requests, find_candidates(stage, requests, 5)))
    column = {name: place for place, name in enumerate(FEATURES)}
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for number in (0, 7, 30):
        rows, at = requests.rows[number], float(requests.at_ms[number])
        times = data.times_ms[rows].astype(float)
        history = History([b"x"] * len(rows), times, data.values[rows], data.codes[rows])
        reference = times[-1]
        sums = [(2.0 ** ((times - reference) / h)).sum() for h in ACTIVITY_HALF_LIVES_MS.values()]
        liked = np.where(data.values[rows] == 5.0, 1.0, -0.5)
        even = data.item[rows] % 2 == 0
        affinity = (liked * even * 2.0 ** ((times - reference) / AFFINITY_HALF_LIFE_MS)).sum()
        stored = UserFeatures(
            1,
            None,
            None,
            {b"act": struct.pack("<dddd", reference, *sums), b"c:even": struct.pack("<dd", reference, affinity)},
        )
        mine = features[first[number]]
        found = stored.activity(int(at))
        assert [mine[column[f"activity_{w}"]] for w in ("1h", "1d", "7d")] == pytest.approx(list(found.values()))
        assert mine[column["log_history"]] == pytest.approx(np.log1p(len(history)))
        shares = stored.affinities(int(at))["even"]
        row = features[first[number] : first[number] + lengths[number], column["affinity_max"]]
        expected = np.sign(shares)  # the only category: its share is all there is
        assert set(row[~np.isnan(row)].tolist()) <= {expected}


def test_store_order_breaks_ties_by_text() -> None:
    import pandas as pd

    frame = pd.DataFrame({"user_id": ["1", "1", "2"], "item_id": ["9", "10", "9"], "value": [3.0, 3.0, 3.0]})
    frame = frame.assign(event_type="rating", timestamp_ms=[5, 5, 1])
    ordered = in_store_order(training_data_of(frame, load_event_types(), "t", ("int", "int"), 0, {}, ""))
    assert [ordered.items.ids[item] for item in ordered.item] == ["9", "10", "9"]


def test_trending_candidates_follow_and_nothing_comes_twice(data: TrainingData) -> None:
    train = data.before(0.6)
    stage = fit_first_stage(data, train, "consumption", PARAMETERS, catalogue(data), 0, 1)
    window = np.flatnonzero(data.turn >= round(0.6 * len(data)))
    requests = window_requests(data, train, window, (0,), {}, stage.known_items, "consumption")
    plain, blended = find_candidates(stage, requests, 5), find_candidates(stage, requests, 5, 4)
    np.testing.assert_array_equal(blended.items[:, :5], plain.items)
    for row, history in zip(blended.items.tolist(), requests.rows, strict=True):
        found = [item for item in row if item >= 0]
        assert len(set(found)) == len(found) == 9
        assert not set(found) & set(data.item[history].tolist())


def test_trending_candidates_follow_the_half_life_of_the_stage(data: TrainingData) -> None:
    train = data.before(0.6)
    stage = fit_first_stage(data, train, "consumption", PARAMETERS, catalogue(data), 0, 1)
    window = np.flatnonzero(data.turn >= round(0.6 * len(data)))
    requests = window_requests(data, train, window, (0,), {}, stage.known_items, "consumption")
    for name in ("1h", "1d", "7d"):
        found = find_candidates(replace(stage, trending_window=name), requests, 5, 4)
        counted = requests.popularity_rows
        assert found.items[:, 5:].min() >= 0
        for place in (0, len(requests) - 1):
            rows = counted[: int(requests.visible[place])]
            age_ms = data.times_ms[rows].max() - data.times_ms[rows]
            weights = data.types.confidence(data.codes[rows], data.values[rows], "preference")
            heat = np.bincount(
                data.item[rows], weights * 0.5 ** (age_ms / ACTIVITY_HALF_LIVES_MS[name]), len(data.items)
            )
            heat[data.item[requests.rows[place]]] = heat[found.items[place, :5]] = heat[~stage.known_items] = -1
            best = heat[found.items[place, 5:]]
            np.testing.assert_allclose(best, np.sort(heat)[::-1][:4], rtol=1e-5)


def test_a_ranker_learns_from_earlier_windows(data: TrainingData) -> None:
    recipe = Recipe("consumption", PARAMETERS, 0.5, 20, 5)
    parameters = RANKER.model_copy(update={"trees": 20, "smallest_leaf": 5})
    second = train_second_stage(data, catalogue(data), recipe, parameters, seed=0, threads=1)
    again = train_second_stage(data, catalogue(data), recipe, parameters, seed=0, threads=2)
    assert second.metrics == again.metrics
    rows = lists_before(data, catalogue(data), recipe, LATEST, 0, 1)
    fitted, alike = (learn(rows, parameters, 0, threads) for threads in (1, 2))
    assert fitted is not None
    assert alike is not None
    assert fitted.ranker.text == alike.ranker.text  # on two threads as on one
    stage = fit_first_stage(data, data.before(0.7), "consumption", PARAMETERS, catalogue(data), 0, 1)
    window = np.flatnonzero(data.turn >= round(0.7 * len(data)))
    requests = window_requests(data, data.before(0.7), window, (0,), {}, stage.known_items, "consumption")
    best = rerank(stage, fitted.ranker, requests, find_candidates(stage, requests, 20, 5), 10)
    assert np.nanmean(user_metrics(best, requests.relevant).recall) > 0.5  # of 40 items, 10 shown


def test_a_cut_list_keeps_what_is_relevant(data: TrainingData) -> None:
    train, window = data.before(0.6), np.flatnonzero(data.turn >= round(0.6 * len(data)))
    stage = fit_first_stage(data, train, "consumption", PARAMETERS, catalogue(data), 0, 1)
    requests = window_requests(data, train, window, (0, 3), {}, stage.known_items, "consumption", live=True, horizon=3)
    candidates = find_candidates(stage, requests, 20, 5)
    whole, cut = (ranker_rows(stage, requests, candidates, longest) for longest in (None, 6))
    assert len(cut.lengths) == len(whole.lengths) > 10
    np.testing.assert_array_equal(cut.lengths, np.minimum(whole.lengths, 6))
    np.testing.assert_array_equal(cut.gains[cut.gains > 0], whole.gains[whole.gains > 0])
    lists = [{row.tobytes() for row in part} for part in np.split(whole.features, np.cumsum(whole.lengths)[:-1])]
    for part, features in zip(np.split(cut.features, np.cumsum(cut.lengths)[:-1]), lists, strict=True):
        assert {row.tobytes() for row in part} <= features


def test_of_many_requests_a_random_part_is_taken(data: TrainingData) -> None:
    train, window = data.before(0.6), np.flatnonzero(data.turn >= round(0.6 * len(data)))
    known = np.ones(len(data.items), bool)
    contexts = (0, 1, 2, 3)
    every = window_requests(data, train, window, contexts, {}, known, "consumption")
    assert len(every) > 20
    some = [window_requests(data, train, window, contexts, {}, known, "consumption", most=4) for _ in range(2)]
    np.testing.assert_array_equal(some[0].user, some[1].user)
    assert len(some[0]) == 4
    asked = set(zip(every.user.tolist(), every.visible.tolist(), strict=True))
    assert set(zip(some[0].user.tolist(), some[0].visible.tolist(), strict=True)) <= asked


def test_of_very_many_events_the_last_two_windows_are_learned_from() -> None:
    assert [opens for opens, _ in early_windows(LATEST, 100_000)] == [0.5, 0.6, 0.7, 0.8]
    assert [opens for opens, _ in early_windows(LATEST, 1_500_000)] == [0.7, 0.8]
    assert [opens for opens, _ in early_windows(LATEST, 20_000_000)] == [0.7, 0.8]
    assert [opens for opens, _ in early_windows(0.95, 20_000_000)] == [0.8, 0.9]


def test_the_second_stage_tells_how_far_it_is(data: TrainingData) -> None:
    told: list[tuple[float, str]] = []
    recipe = Recipe("consumption", PARAMETERS, 0.5, 20, 5)
    parameters = RANKER.model_copy(update={"trees": 5, "smallest_leaf": 5})
    train_second_stage(
        data, catalogue(data), recipe, parameters, 0, 1, tell=lambda share, text: told.append((share, text))
    )
    shares = [share for share, _ in told]
    assert len(shares) >= 6  # the judged window's factors, four windows, the choice
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert shares[-1] <= 1


def test_first_stages_of_early_windows_are_let_go_of_when_their_lists_are_made(data: TrainingData) -> None:
    held = dict.fromkeys(("factors of the first 80%", "chosen whether a ranker helps"), 0)

    def count() -> int:
        gc.collect()
        return sum(isinstance(one, FirstStage) for one in gc.get_objects())

    def look(share: float, text: str) -> None:
        if text in held:  # to look through all objects at every step would take longer than the training
            held[text] = count()

    recipe = Recipe("consumption", PARAMETERS, 0.5, 20, 5)
    before = count()
    train_second_stage(
        data, catalogue(data), recipe, RANKER.model_copy(update={"trees": 5, "smallest_leaf": 5}), 0, 1, tell=look
    )
    assert held["factors of the first 80%"] - before >= 5
    assert held["chosen whether a ranker helps"] - before == 1

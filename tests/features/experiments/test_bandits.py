import pytest

from experiments.statistics.ratio import ratio, ratio_variance
from experiments.user_metrics import METRICS
from experiments.user_totals import add_sums, variant_sums
from features.experiments.bandits import arm, reweigh_bandits
from features.recording.online_store import OnlineStore
from features.serving.serving_state import read_state
from tests.features.bandit_arms import begun, count, people

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["click_through", "conversion"])
def test_an_arm_has_the_metrics_mean_and_variance(name: str) -> None:
    users = people("a", 300, 0.3)
    found = arm(METRICS[name], add_sums(variant_sums(users).values()))
    pairs = METRICS[name].sums(variant_sums(users)["a"])
    wanted = (
        (ratio(pairs), ratio_variance(pairs)) if name == "click_through" else (pairs.main.mean, pairs.main.variance)
    )
    assert (found.mean, found.variance) == pytest.approx(wanted)


async def test_weights_follow_the_results_of_a_bandit_and_of_no_other(valkey_store: OnlineStore) -> None:
    store = valkey_store
    name = await begun(store, {"floor": 0.1, "minimum_users": 100})
    await count(store, name, [*people("a", 90, 0.1), *people("b", 300, 0.4)])
    assert await reweigh_bandits(store.client, store.keys, 5) == {}, "too early"
    await count(store, name, [*people("a", 200, 0.1), *people("b", 300, 0.4)])
    found = (await reweigh_bandits(store.client, store.keys, 6))[name]
    after = (await read_state(store.client, store.keys)).experiments[name]
    # Top-two: half of the time the second best is asked, so that it stays known.
    assert after.weights == pytest.approx([0.5, 0.5], abs=0.01) or after.weights[1] > 0.5
    assert after.weights == list(found.weights)
    assert min(after.weights) >= 0.1
    assert (after.periods[-1].users, after.periods[-1].since_ms) == (500, 6)
    assert await reweigh_bandits(store.client, store.keys, 7) == {}, "nothing has changed since"


async def test_an_experiment_keeps_its_weights(valkey_store: OnlineStore) -> None:
    name = await begun(valkey_store, None)
    await count(valkey_store, name, [*people("a", 300, 0.1), *people("b", 300, 0.4)])
    assert await reweigh_bandits(valkey_store.client, valkey_store.keys, 5) == {}
    assert (await read_state(valkey_store.client, valkey_store.keys)).experiments[name].weights == [0.5, 0.5]


async def test_an_arm_without_weight_neither_holds_the_others_up_nor_gets_one(valkey_store: OnlineStore) -> None:
    name = await begun(valkey_store, {"floor": 0.1, "minimum_users": 100}, paused=True)
    await count(valkey_store, name, [*people("a", 200, 0.1), *people("b", 300, 0.4)])
    assert name in await reweigh_bandits(valkey_store.client, valkey_store.keys, 6)
    weights = (await read_state(valkey_store.client, valkey_store.keys)).experiments[name].weights
    assert weights[1] == 0.0
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights[0], weights[2]) >= 0.1

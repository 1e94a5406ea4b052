import numpy as np
import pytest

from experiments.attribution import Rule, UserReplay
from experiments.ratio import ratio, ratio_variance
from experiments.user_metrics import METRICS
from experiments.user_totals import UserTotals, add_sums, variant_sums
from features.bandits import arm, reweigh_bandits
from features.experiment_counts import sums_command
from features.experiment_steps import start
from features.experiments import Definition, change_experiment, create_experiment, read_traffic
from features.slots import set_slot
from features.store import OnlineStore

pytestmark = pytest.mark.anyio
RULE = Rule(1_000, 500, 0, 3)


def people(variant: str, n: int, rate: float) -> list[UserTotals]:
    rng = np.random.default_rng(n)
    lists = rng.poisson(4, n) + 1
    return [
        UserTotals(variant, 0, 0, 0, False, lists=int(m), clicked=int(rng.binomial(m, rate)), conversions=int(m > 4))
        for m in lists
    ]


@pytest.mark.parametrize("name", ["click_through", "conversion"])
def test_an_arm_has_the_metrics_mean_and_variance(name: str) -> None:
    users = people("a", 300, 0.3)
    found = arm(METRICS[name], add_sums(variant_sums(users).values()))
    pairs = METRICS[name].sums(variant_sums(users)["a"])
    wanted = (
        (ratio(pairs), ratio_variance(pairs)) if name == "click_through" else (pairs.main.mean, pairs.main.variance)
    )
    assert (found.mean, found.variance) == pytest.approx(wanted)


async def begun(store: OnlineStore, bandit: dict[str, float] | None) -> str:
    client, keys = store.client, store.keys
    await set_slot(client, keys, "champion", "v1", "/v1", "first")
    await set_slot(client, keys, "challenger", "v2", "/v2", "second")
    variants = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "slot": "challenger"}]
    made = await create_experiment(
        client, keys, Definition.model_validate({"hypothesis": "h", "variants": variants, "bandit": bandit}), 1
    )
    await change_experiment(client, keys, made.id, lambda one, now: start(one, now, 2), "started", "", 2)
    return made.id


async def count(store: OnlineStore, experiment: str, users: list[UserTotals]) -> None:
    replays = [UserReplay(RULE, totals={experiment: user}) for user in users]
    for command in sums_command(store.keys.experiment_sums(1), replays, {}):
        await store.client.run(*command)


async def test_weights_follow_the_results_of_a_bandit_and_of_no_other(valkey_store: OnlineStore) -> None:
    store = valkey_store
    name = await begun(store, {"floor": 0.1, "minimum_users": 100})
    await count(store, name, [*people("a", 90, 0.1), *people("b", 300, 0.4)])
    assert await reweigh_bandits(store.client, store.keys, 5) == {}, "too early"
    await count(store, name, [*people("a", 200, 0.1), *people("b", 300, 0.4)])
    found = (await reweigh_bandits(store.client, store.keys, 6))[name]
    after = (await read_traffic(store.client, store.keys)).experiments[name]
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
    assert (await read_traffic(valkey_store.client, valkey_store.keys)).experiments[name].weights == [0.5, 0.5]

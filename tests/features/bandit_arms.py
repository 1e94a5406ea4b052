"""An experiment between two slots, and users of known rates in its arms."""

import numpy as np

from experiments.attribution import Rule, UserReplay
from experiments.user_totals import UserTotals
from features.experiments.changes import change_experiment, create_experiment
from features.experiments.counts import sums_command
from features.experiments.experiment import Definition
from features.experiments.steps import start
from features.recording.online_store import OnlineStore
from features.serving.promotion import set_slot

RULE = Rule(1_000, 500, 0, 3, 100)


def people(variant: str, n: int, rate: float) -> list[UserTotals]:
    rng = np.random.default_rng(n)
    lists = rng.poisson(4, n) + 1
    return [
        UserTotals(variant, 0, 0, 0, False, lists=int(m), clicked=int(rng.binomial(m, rate)), conversions=int(m > 4))
        for m in lists
    ]


async def begun(store: OnlineStore, bandit: dict[str, float] | None, paused: bool = False) -> str:
    """Start an experiment of a and b; with `paused`, of a third arm too, which has no weight."""
    client, keys = store.client, store.keys
    await set_slot(client, keys, "champion", "v1", "/v1", "first")
    await set_slot(client, keys, "challenger", "v2", "/v2", "second")
    variants = [{"name": "a", "weight": 0.5, "slot": "champion"}, {"name": "b", "weight": 0.5, "slot": "challenger"}]
    if paused:
        variants.insert(1, {"name": "paused", "weight": 0.0, "slot": "champion"})
    made = await create_experiment(
        client, keys, Definition.model_validate({"hypothesis": "h", "variants": variants, "bandit": bandit}), 1
    )
    await change_experiment(client, keys, made.id, lambda one, now: start(one, now, 2), "started", "", 2)
    return made.id


async def count(store: OnlineStore, experiment: str, users: list[UserTotals]) -> None:
    replays = [UserReplay(RULE, totals={experiment: user}) for user in users]
    for command in sums_command(store.keys.experiment_sums(1), replays, {}):
        await store.client.run(*command)

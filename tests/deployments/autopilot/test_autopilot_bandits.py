"""Autopilot moves the weights of running bandits, whoever looks next, and of no other experiment."""

from collections.abc import Callable

import pytest

from configs.event_types import load_event_types
from deployments.autopilot import autopilot
from features.experiments.changes import read_changes
from features.experiments.experiment import Experiment
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import read_state
from tests.deployments.pilots import Pilots
from tests.features.bandit_arms import begun, count, people

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(pilots: Callable[..., Pilots], client: StoreClient, keys: Keys) -> OnlineStore:
    return OnlineStore(client, keys, pilots().settings.store, load_event_types("movies"))


async def experiment(store: OnlineStore, name: str) -> Experiment:
    return (await read_state(store.client, store.keys)).experiments[name]


@pytest.mark.parametrize("mode", ["off", "observe", "act"])
async def test_a_look_moves_the_weights_and_the_next_ones_wait(
    pilots: Callable[..., Pilots], store: OnlineStore, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pilots(mode=mode)
    name = await begun(store, {"floor": 0.1, "leader_share": 1.0, "minimum_users": 100})
    await count(store, name, [*people("a", 200, 0.1), *people("b", 200, 0.4)])
    await found.look()
    moved = await experiment(store, name)
    assert moved.weights == pytest.approx([0.1, 0.9], abs=0.001)
    assert moved.periods[-1].users == 400
    # The other way round now. Each look is a new replica's; when it is due is known from the store.
    await count(store, name, [*people("a", 900, 0.9), *people("b", 200, 0.1)])
    await found.look(2)
    assert (await experiment(store, name)).weights == moved.weights
    monkeypatch.setattr(autopilot, "REWEIGH_MS", 0)
    await found.look(2)
    assert (await experiment(store, name)).weights == pytest.approx([0.9, 0.1], abs=0.001)
    changes = await read_changes(store.client, store.keys, name)
    assert [one.change for one in changes].count("reweighed") == 2


async def test_an_experiment_is_no_bandit_unless_it_says_so(pilots: Callable[..., Pilots], store: OnlineStore) -> None:
    name = await begun(store, None)
    await count(store, name, [*people("a", 300, 0.1), *people("b", 300, 0.4)])
    await pilots().look()
    assert (await experiment(store, name)).weights == [0.5, 0.5]

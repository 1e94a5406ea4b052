"""A list counts for an experiment only where the version that it compares made it."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from configs import clock
from deployments.http.schemas import RecommendRequest
from deployments.recommend.ranking import Ranking
from deployments.recommend.variant_assignment import DEFAULT, Assigned
from features.experiments.changes import change_experiment, create_experiment
from features.experiments.experiment import Definition, Variant
from features.experiments.steps import start
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.slots import CHALLENGER, CHAMPION
from tests.deployments.recommend.conftest import Functions

pytestmark = pytest.mark.anyio
VARIANTS = [
    Variant(name="control", weight=1e-9, slot="champion"),
    Variant(name="new", weight=1 - 1e-9, slot="challenger"),
]


async def exposures(client: StoreClient, keys: Keys) -> list[dict[str, Any]]:
    found = []
    for partition in range(keys.partitions):
        found += [orjson.loads(row[b"e"]) for _, row in await client.run("XRANGE", keys.exposures(partition), "-", "+")]
    return sorted(found, key=lambda one: one["time_ms"])


async def test_a_list_of_another_version_is_served_and_counts_for_nothing(
    functions: Functions,
    client: StoreClient,
    keys: Keys,
    until: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    await create_experiment(client, keys, Definition(id="e1", hypothesis="h", variants=VARIANTS), 1)
    await change_experiment(client, keys, "e1", lambda one, now: start(one, now, clock.now_ms()), "started", "t", 2)

    current = functions.ranking
    # As if the challenger's retrieval still held the version before.
    champion = functions.retrievals[CHAMPION].retrieve
    behind = Ranking(functions.settings, {CHAMPION: champion, CHALLENGER: champion})
    await behind.start()

    async def answer(ranking: Ranking, **request: Any) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(await ranking.recommend(RecommendRequest(**request)))
        return found

    async def counted() -> bool:
        return (await answer(current, user_id="ada"))["experiment"] == "e1"

    try:
        await until(counted)
        right = await answer(current, user_id="eve")
        assert (right["variant"], right["model_version"]) == ("new", functions.versions[CHALLENGER])
        wrong = await answer(behind, user_id="eve", top_k=3)
    finally:
        await behind.stop()
    assert wrong["model_version"] == functions.versions[CHAMPION]
    assert (wrong["experiment"], wrong["variant"], len(wrong["recommendations"])) == (None, CHALLENGER, 3)
    last = (await exposures(client, keys))[-1]
    assert (last["experiment"], last["model_version"]) == (None, functions.versions[CHAMPION])
    assert (current.metrics.counts["version_mismatches"], behind.metrics.counts["version_mismatches"]) == (0, 1)


def test_only_a_promise_can_be_broken() -> None:
    promised = Assigned("e1", "new", CHALLENGER, version="v2")
    assert promised.answered_by("v2") is promised
    assert promised.answered_by("v1") == Assigned(None, CHALLENGER, CHALLENGER)
    assert promised.answered_by(None) == Assigned(None, CHALLENGER, CHALLENGER)
    assert DEFAULT.answered_by("v1") is DEFAULT

"""What a replica follows, and that one thing it cannot read keeps it from nothing else; on a real store."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
import pytest

from deployments.recommend.variant_assignment import VariantAssignment
from deployments.replica.control_watch import ControlWatch
from features.experiments.changes import create_experiment
from features.experiments.experiment import Definition, Variant
from features.items.catalogue import Item, put_items
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.slots import read_slots

pytestmark = pytest.mark.anyio
STEPS = ("catalogue", "traffic", "slots", "interval")


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


class Followed:
    """Counts the calls of each step; those in `broken` fail."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.broken: set[str] = set()

    def step(self, name: str) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            self.calls[name] = self.calls.get(name, 0) + 1
            if name in self.broken:
                raise ValueError(f"{name} cannot be read")

        return call


@pytest.mark.parametrize("broken", STEPS)
async def test_a_step_that_fails_is_tried_again_and_keeps_no_other_from_following(
    client: StoreClient, keys: Keys, broken: str
) -> None:
    found = Followed()
    found.broken = {broken}
    watch = ControlWatch(
        client, keys, 0.01,
        on_slots=found.step("slots"), on_catalogue=found.step("catalogue"), on_traffic=found.step("traffic"),
        on_interval=(0.01, found.step("interval")),
    )  # fmt: skip
    await watch.start()
    try:
        before = dict(found.calls)
        await put_items(client, keys, [Item("i1", "title")])
        await set_slot(client, keys, "champion", "v1", "/v1", "a test")
        await create_experiment(client, keys, definition(), 1)
        await client.run("HINCRBY", keys.versions, "traffic", 1)
        await until(lambda: all(found.calls.get(name, 0) > before.get(name, 0) for name in STEPS))
        assert watch.store_answers
        found.broken = set()
        again = found.calls[broken]
        await until(lambda: found.calls[broken] > again)
        watch.check_health()
    finally:
        await watch.stop()


async def test_an_experiment_of_a_newer_version_keeps_no_replica_from_following(
    client: StoreClient, keys: Keys
) -> None:
    assignment, seen = VariantAssignment(client, keys), set[str]()

    async def follow_slots() -> None:
        seen.update(slot.version for slot in (await read_slots(client, keys)).values())

    created = await create_experiment(client, keys, definition(), 1)
    newer = {**orjson.loads(created.model_dump_json()), "audience": "everybody"}
    await client.run("HSET", keys.experiments, created.id, orjson.dumps(newer))
    watch = ControlWatch(client, keys, 0.01, on_slots=follow_slots, on_traffic=assignment.follow)
    await watch.start()
    try:
        await set_slot(client, keys, "champion", "v2", "/v2", "a test")
        await until(lambda: "v2" in seen)
    finally:
        await watch.stop()


def definition() -> Definition:
    return Definition(
        id="e1",
        hypothesis="h",
        variants=[Variant(name="a", weight=0.5, slot="champion"), Variant(name="b", weight=0.5, slot="challenger")],
    )

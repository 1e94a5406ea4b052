"""One owner of what serves: what is in use stays, stale decisions are refused, a lost answer changes nothing."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from configs import clock
from configs.settings import Store
from features.experiments.changes import change_experiment, create_experiment, promote_winner, read_changes
from features.experiments.experiment import Definition, ExperimentError
from features.experiments.steps import resolve_slots, start, stop
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.errors import StoreFull
from features.redis.keys import Keys
from features.serving.promotion import clear_slot, roll_back_to, set_slot, watch
from features.serving.retraining_run import begin_run, read_run
from features.serving.rollout import RolloutError, set_rollout
from features.serving.run_record import new_run
from features.serving.serving_state import AUTOPILOT, Guard, SlotInUseError, StateMovedError, read_state
from features.serving.slots import read_decisions
from features.serving.timeline import entry, read_timeline
from models.bundle.writing import write_bundle
from tests.features.lost_answer import losing_the_answer
from tests.models.bundle.test_bundle import NOW_MS, contents, fields

pytestmark = pytest.mark.anyio
JOB = "retraining r1"
VARIANTS = [
    {"name": "control", "weight": 0.5, "slot": "champion"},
    {"name": "new", "weight": 0.5, "slot": "challenger"},
]


@pytest.fixture
async def served(store: OnlineStore) -> OnlineStore:
    """v1 and then v2 became champion; v3 is the challenger; an experiment between the two is a draft."""
    client, keys = store.client, store.keys
    for slot, version in (("champion", "v1"), ("champion", "v2"), ("challenger", "v3")):
        await set_slot(client, keys, slot, version, f"/{version}", "first")
    definition = Definition.model_validate({"id": "e1", "hypothesis": "h", "variants": VARIANTS})
    await create_experiment(client, keys, definition, 1)
    return store


async def begin(client: StoreClient, keys: Keys) -> None:
    await change_experiment(client, keys, "e1", lambda one, state: start(one, state, 5), "started", "go", 5)


async def roll_out(client: StoreClient, keys: Keys) -> None:
    await set_rollout(client, keys, 0.25, "by degrees", 5)


async def guard(client: StoreClient, keys: Keys) -> None:
    until_ms = clock.now_ms() + 600_000
    await watch(client, keys, Guard("v2", "v1", until_ms), entry("guardrail", "v2 is watched"))


@pytest.mark.parametrize(
    ("use", "slot", "words"),
    [
        (begin, "champion", r"slot champion is in use by the experiment e1: stop it first"),
        (begin, "challenger", r"slot challenger is in use by the experiment e1: stop it first"),
        (roll_out, "challenger", r"in use by the rollout, which gives it 0\.25 of the traffic: end it first"),
        (guard, "champion", r"in use by the promotion guard, which watches v2 until .* UTC: wait for that, or let a"),
    ],
)
async def test_a_slot_in_use_is_not_taken(
    served: OnlineStore, use: Callable[[StoreClient, Keys], Awaitable[None]], slot: str, words: str
) -> None:
    """Regression: a retraining put its model into a slot that an experiment compared."""
    client, keys = served.client, served.keys
    await use(client, keys)
    before = await read_state(client, keys)
    with pytest.raises(SlotInUseError, match=words):
        await set_slot(client, keys, slot, "v9", "/v9", "trained", who=JOB)
    assert await read_state(client, keys) == before


async def test_a_person_does_not_take_what_an_experiment_compares_either(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await begin(client, keys)
    for slot in ("champion", "challenger"):
        with pytest.raises(SlotInUseError, match="the experiment e1"):
            await set_slot(client, keys, slot, "v9", "/v9", "I want it")
    with pytest.raises(SlotInUseError, match="the experiment e1"):
        await clear_slot(client, keys, "challenger", "I do not need it")
    await set_slot(client, keys, "challenger-2", "v9", "/v9", "nobody uses it")
    with pytest.raises(RolloutError, match="stop it first"):
        await roll_out(client, keys)


async def test_a_free_slot_is_one_that_nobody_uses(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await begin(client, keys)
    other = {"id": "e2", "hypothesis": "h", "group": "other", "variants": [VARIANTS[0], {**VARIANTS[1], "slot": None}]}
    other["variants"][1]["version"] = "v9"  # type: ignore[index]
    draft = await create_experiment(client, keys, Definition.model_validate(other), 2)
    assert resolve_slots(draft, await read_state(client, keys))[1] == {"challenger-2": "v9"}


async def test_what_a_person_promotes_takes_the_place_of_what_was_watched(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await guard(client, keys)
    await set_slot(client, keys, "champion", "v9", "/v9", "v2 was a mistake")
    state = await read_state(client, keys)
    assert (state.serving("champion"), state.guard) == ("v9", None)


async def test_a_rollback_always_works_and_ends_what_compared_the_champion(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await guard(client, keys)
    await begin(client, keys)
    seen = (await read_state(client, keys)).version
    await roll_back_to(client, keys, "v1", "/v1", "it fails", seen, AUTOPILOT)
    state = await read_state(client, keys)
    assert (state.serving("champion"), state.guard, state.experiments["e1"].status) == ("v1", None, "stopped")
    assert (await read_changes(client, keys, "e1"))[0].reason == "the champion was rolled back: it fails"


async def test_whoever_decided_on_what_was_read_earlier_does_not_undo_what_came_after(served: OnlineStore) -> None:
    """Regression: a rollback that autopilot had decided on overwrote what a person had promoted meanwhile."""
    client, keys = served.client, served.keys
    seen = (await read_state(client, keys)).version
    await set_slot(client, keys, "champion", "v9", "/v9", "a person wants it")
    with pytest.raises(StateMovedError, match="the slot champion was changed meanwhile and serves v9 now"):
        await roll_back_to(client, keys, "v1", "/v1", "v2 fails", seen, AUTOPILOT)
    with pytest.raises(StateMovedError, match="look again"):
        await set_slot(client, keys, "champion", "v8", "/v8", "better than v2", who=JOB, seen=seen)
    await set_slot(client, keys, "challenger", "v8", "/v8", "that one did not move", who=JOB, seen=seen)
    state = await read_state(client, keys)
    assert (state.serving("champion"), state.serving("challenger")) == ("v9", "v8")


async def test_every_change_tells_who_and_why(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await begin(client, keys)
    await change_experiment(
        client, keys, "e1", lambda one, _: stop(one, 6, "enough"), "stopped", "enough", 6, AUTOPILOT
    )
    await roll_out(client, keys)
    await guard(client, keys)
    run = new_run("person", "it is time", "gate", 60, "v2")
    assert await begin_run(client, keys, run, entry("retraining", "asked for: it is time", run.run_id)) is None
    told = {line.text: line.who for line in await read_timeline(client, keys, 50)}
    assert told == {
        "the champion slot serves v1: first": "a person",
        "the champion slot serves v2 (was v1): first": "a person",
        "the challenger slot serves v3: first": "a person",
        "experiment e1 created: h": "a person",
        "experiment e1 started: go": "a person",
        "experiment e1 stopped: enough": "autopilot",
        "the challenger slot serves v3: rollout of 0.25 of the traffic: by degrees": "a person",
        "v2 is watched": "autopilot",
        "asked for: it is time": "a person",
    }


async def test_a_winner_becomes_champion_in_one_change_with_its_experiment(served: OnlineStore, tmp_path: Path) -> None:
    client, keys = served.client, served.keys
    await begin(client, keys)
    await change_experiment(client, keys, "e1", lambda one, _: stop(one, 6, "enough"), "stopped", "enough", 6)
    version = write_bundle(tmp_path, contents(), fields(), NOW_MS).name
    before = await read_state(client, keys)
    won = before.experiments["e1"].model_copy(update={"versions": {"control": "v2", "new": version}})
    await client.run("HSET", keys.experiments, "e1", won.model_dump_json())
    done = await promote_winner(client, keys, tmp_path, "e1", "new", "it won", 7)
    after = await read_state(client, keys)
    assert (done.promoted_version, after.serving("champion"), after.version) == (version, version, before.version + 1)
    with pytest.raises(ExperimentError, match="has been promoted already"):
        await promote_winner(client, keys, tmp_path, "e1", "control", "it won after all", 8)


async def claim(client: StoreClient, keys: Keys) -> None:
    run = new_run("person", "now", "gate", 60, "v2")
    assert await begin_run(client, keys, run, entry("retraining", "asked for", run.run_id)) is None
    assert await read_run(client, keys) == run


async def put(client: StoreClient, keys: Keys) -> None:
    await set_slot(client, keys, "champion", "v9", "/v9", "better")


@pytest.mark.parametrize("write", [claim, begin, put, roll_out, guard])
async def test_an_answer_that_gets_lost_changes_nothing(
    valkey_url: str,
    valkey_store: OnlineStore,
    limits: Store,
    write: Callable[[StoreClient, Keys], Awaitable[None]],
) -> None:
    """Regression: the repeat of a claim met its own run, that of a start its own experiment, a slot moved twice."""
    client, keys = valkey_store.client, valkey_store.keys
    for slot, version in (("champion", "v2"), ("challenger", "v3")):
        await set_slot(client, keys, slot, version, f"/{version}", "first")
    definition = Definition.model_validate({"id": "e1", "hypothesis": "h", "variants": VARIANTS})
    await create_experiment(client, keys, definition, 1)
    before, told = await read_state(client, keys), len(await read_timeline(client, keys, 100))
    async with losing_the_answer(valkey_url, limits) as (behind, lost):
        await write(behind, keys)
        assert len(lost) == 1
    assert (await read_state(client, keys)).version == before.version + 1
    assert len(await read_timeline(client, keys, 100)) == told + 1


async def test_a_full_store_takes_all_of_a_change_or_nothing(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await roll_out(client, keys)
    before, told = await read_state(client, keys), await read_decisions(client, keys)
    await client.run_on(keys.versions, "CONFIG", "SET", "maxmemory", "1")
    try:
        # It would end the rollout, which takes no memory, and move a slot, which does.
        with pytest.raises(StoreFull):
            await set_slot(client, keys, "champion", "v3", "/v3", "good")
    finally:
        await client.run_on(keys.versions, "CONFIG", "SET", "maxmemory", "0")
    assert (await read_state(client, keys), await read_decisions(client, keys)) == (before, told)


async def test_fields_that_a_later_version_stored_stop_nobody(served: OnlineStore) -> None:
    client, keys = served.client, served.keys
    await roll_out(client, keys)
    before = await read_state(client, keys)
    for name in ("champion", "challenger"):
        slot = orjson.loads(await client.run("HGET", keys.slots, name))
        await client.run("HSET", keys.slots, name, orjson.dumps({**slot, "colour": "red"}))
    rollout = orjson.loads(await client.run("GET", keys.rollout))
    await client.run("SET", keys.rollout, orjson.dumps({**rollout, "colour": "red"}))
    assert await read_state(client, keys) == before


async def test_what_an_earlier_version_stored_goes_on(store: OnlineStore) -> None:
    """Slots, an experiment whose slot was taken from it, a rollout and a run, as the version before wrote them."""
    client, keys = store.client, store.keys
    control = f"{keys.prefix}:{{control}}:"
    for name, version in (("champion", "v5"), ("challenger", "v3")):
        slot = {"version": version, "uri": f"/{version}", "since_ms": 1, "reason": "first"}
        await client.run("HSET", f"{control}slots", name, orjson.dumps(slot))
    experiment = {
        "id": "e1",
        "seed": "e1",
        "hypothesis": "h",
        "variants": VARIANTS,
        "created_ms": 1,
        "started_ms": 2,
        "status": "running",
        "slots": {"control": "champion", "new": "challenger"},
        "versions": {"control": "v2", "new": "v3"},
    }
    await client.run("HSET", f"{control}experiments", "e1", orjson.dumps(experiment))
    run = new_run("person", "now", "gate", 60, "v2").model_dump(exclude={"seen"})
    await client.run("SET", f"{control}run", orjson.dumps(run))
    await client.run("HSET", f"{control}versions", "slots", 4, "traffic", 3, "catalogue", 2)
    await client.run(
        "XADD", f"{control}decisions", "*", "slot", "champion", "version", "v5", "previous", "v2", "reason", "r",
        "time_ms", 3,
    )  # fmt: skip

    state = await read_state(client, keys)
    assert (state.version, state.serving("champion"), state.run and state.run.run_id) == (0, "v5", run["run_id"])
    assert [(one.version, one.who) for one in await read_decisions(client, keys)] == [("v5", None)]
    with pytest.raises(SlotInUseError, match="the experiment e1"):
        await set_slot(client, keys, "challenger", "v9", "/v9", "trained", who=JOB)
    with pytest.raises(SlotInUseError, match="the experiment e1"):
        await set_slot(client, keys, "champion", "v9", "/v9", "another one still")
    await set_slot(client, keys, "challenger-2", "v9", "/v9", "what was taken before hinders nothing else")
    await set_slot(client, keys, "champion", "v2", "/v2", "the experiment goes on")
    await change_experiment(client, keys, "e1", lambda one, _: stop(one, 6, "enough"), "stopped", "enough", 6)
    assert (await read_state(client, keys)).version == 3

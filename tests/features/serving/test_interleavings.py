"""Several actors change the serving state at once, and between their questions to the store anything may happen.

Whatever the order: the store holds what the changes give by the plain rules, one after another in the order of their
versions; whoever was refused met a state that refuses; no slot that was in use was taken, and nothing was undone by
whoever had not seen it; every change is told of.
"""

import asyncio
import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from configs.settings import Store
from features.experiments.changes import create_experiment
from features.experiments.experiment import Definition
from features.redis.connection import StoreClient, connect
from features.redis.keys import Keys
from features.serving.promotion import set_slot
from features.serving.serving_state import read_state
from features.serving.timeline import read_timeline
from tests.features.serving.actors import (
    COMPARED,
    Actor,
    Commit,
    Plain,
    RefusedError,
    Step,
    clearing,
    promotion,
    publication,
    retraining,
    rollback,
    rolling_out,
    starting,
    stopping,
    watching,
)

PREFIXES = itertools.count()
CHALLENGERS = ("challenger", "challenger-2")
VERSIONS = st.sampled_from([f"v{number}" for number in range(4)])
LOST = st.sampled_from([False, False, False, True])
STEPS = st.one_of(
    st.builds(promotion, st.sampled_from(["champion", *CHALLENGERS]), VERSIONS),
    st.builds(publication, st.sampled_from(["champion", "challenger"]), VERSIONS),
    st.builds(retraining, st.just("challenger"), VERSIONS),
    st.builds(clearing, st.sampled_from(CHALLENGERS)),
    st.builds(rollback, st.sampled_from(["a person", "autopilot"])),
    st.builds(watching),
    st.builds(starting, st.sampled_from(list(COMPARED))),
    st.builds(stopping, st.sampled_from(list(COMPARED))),
    st.builds(rolling_out, st.sampled_from([0.0, 0.1, 0.5])),
)

BEGUN = st.sampled_from([[], [starting("e1")], [starting("e1"), starting("e2")], [rolling_out(0.1)], [watching()]])


def test_any_interleaving_is_some_order_of_the_changes(valkey_url: str, limits: Store) -> None:
    patient = limits.model_copy(update={"timeout_s": 30.0})
    with asyncio.Runner() as runner:

        @settings(max_examples=250)
        @given(st.lists(STEPS, min_size=4, max_size=8), st.data())
        def interleave(steps: list[Step], data: st.DataObject) -> None:
            runner.run(attempt(valkey_url, patient, steps, data))

        interleave()


async def attempt(url: str, limits: Store, steps: list[Step], data: st.DataObject) -> None:
    client, keys = connect(limits, url), Keys(f"interleaved{next(PREFIXES)}", 1)
    try:
        await prepare(client, keys, data.draw(BEGUN, label="what is under way"))
        history = [Plain.of(await read_state(client, keys))]
        commits: list[Commit] = []
        actors = [Actor(client, keys, commits, lambda: data.draw(LOST, label="the answer is lost")) for _ in steps]
        lives = await take_turns(actors, steps, data)

        for number, commit in enumerate(commits, history[0].version + 1):
            assert commit.version == number
            history.append(replace(commit.rule(history[-1]), version=number))
            assert set(history[-1].needs()) <= set(history[-1].slots.items())
        assert Plain.of(await read_state(client, keys)) == history[-1]
        for actor, (first, last) in lives.items():
            assert not actor.refused or any(refuses(actor, met) for met in history[first : last + 1])
        told = [line for line in await read_timeline(client, keys, 1000) if line.who is not None]
        assert len(told) >= history[-1].version
    finally:
        await client.aclose()


async def prepare(client: StoreClient, keys: Keys, begun: list[Step]) -> None:
    """Two champions after one another, two challengers, three drafts of which two want the same users, and what is
    under way by now."""
    for slot, version in (("champion", "v0"), ("champion", "v1"), ("challenger", "v2"), ("challenger-2", "v3")):
        await set_slot(client, keys, slot, version, f"/{version}", "first", 1)
    for name, compared in COMPARED.items():
        variants = [{"name": slot, "weight": 0.5, "slot": slot} for slot in compared]
        apart = {"group": "apart" if name == "e2" else "default", "coverage": 0.5}  # of the users
        definition = Definition.model_validate({"id": name, "hypothesis": "h", "variants": variants, **apart})
        await create_experiment(client, keys, definition, 1)
    for step in begun:
        [_] = await take_turns([Actor(client, keys, [], lambda: False)], [step])


async def take_turns(
    actors: list[Actor], steps: list[Step], data: st.DataObject | None = None
) -> dict[Actor, tuple[int, int]]:
    """Let all of them work at once. Returns for each how many changes had been made when it began, and at its end."""
    commits = actors[0].commits
    tasks = {actor: asyncio.create_task(actor.attempt(step)) for actor, step in zip(actors, steps, strict=True)}
    begun: dict[Actor, int] = {}
    lives = {}
    try:
        for actor in actors:
            await actor.waits.wait()
        while tasks:
            waiting = list(tasks)
            actor = waiting[0] if data is None else data.draw(st.sampled_from(waiting), label="whose turn")
            begun.setdefault(actor, len(commits))
            await actor.turn(tasks[actor])
            if tasks[actor].done():
                await tasks.pop(actor)
                lives[actor] = begun[actor], len(commits)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    return lives


def refuses(actor: Actor, plain: Plain) -> bool:
    try:
        actor.rule(plain)
    except RefusedError:
        return True
    return False

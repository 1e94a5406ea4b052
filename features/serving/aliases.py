"""The registry's aliases name what the slots serve. Whoever changes a slot and can reach the registry calls
`move_aliases` afterwards; what was missed is made up for by the next call, and autopilot calls it at every look."""

from collections.abc import Awaitable, Callable

from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.serving_state import read_state

PointAlias = Callable[[str, str | None], Awaitable[str | None]]
"""(alias, version): let the alias name the version, or remove it for None. Answers what is in the way."""


async def move_aliases(client: StoreClient, keys: Keys, point: PointAlias) -> tuple[dict[str, str | None], str | None]:
    """Let the alias of every slot follow that has changed since its alias did. Several may do so at once.

    Returns:
        alias -> version, of those that were moved, and what is in the way of the others.

    Raises:
        StoreError: the store does not answer.
    """
    told = {name.decode(): int(at) for name, at in (await client.run("HGETALL", keys.aliases)).items()}
    moved: dict[str, str | None] = {}
    problem: str | None = None
    state = await read_state(client, keys)
    due = {slot for slot, at in state.moved.items() if at > told.get(slot, 0)}
    while due:
        for slot in sorted(due):
            found = await point(slot, state.serving(slot))
            problem = problem or found
            if found is None:
                moved[slot] = state.serving(slot)
                await client.run("HSET", keys.aliases, slot, state.moved[slot])
        # Somebody may have changed a slot and moved its alias before this did: whoever comes last looks once more.
        before, state = state, await read_state(client, keys)
        due = {slot for slot in due if state.moved[slot] != before.moved[slot]}
    return moved, problem

"""`python -m jobs.promote VERSION | rollback | challenger`: let the champion's slot serve another version.

With `--share`, the version goes into the challenger's slot instead and gets that share of the traffic: a gradual
rollout. `challenger --share 0.3` gives what is there another share, `challenger --share 0` ends it.

The slot is one value, changed by one script; the bundle is verified before. What the registry says follows: its alias
is set afterwards, and a registry that is away does not stop a rollback.
"""

import argparse
import sys
from collections.abc import Sequence

from configs import clock
from configs.settings import Settings, SettingsError, load_settings
from features.redis.connection import StoreClient
from features.redis.errors import StoreError
from features.redis.keys import Keys
from features.redis.session import with_store
from features.serving import promotion
from features.serving.promotion import ROLLBACK, PromotionError
from features.serving.rollout import check_share, set_rollout
from features.serving.serving_state import StateConflictError, read_state
from features.serving.slots import CHALLENGER, CHAMPION, Rollout
from jobs.train.store_calls import follow_slots


def promote(settings: Settings, version: str, reason: str) -> str | None:
    """Let the champion's slot serve `version`, now.

    Returns:
        what the registry had to say where its alias could not be set, None where it was.

    Raises:
        PromotionError: there is no such bundle, or it is damaged, or it serves already.
        StateConflictError: something needs the slot as it is.
        StoreError: the slot cannot be set.
    """
    with_store(settings, lambda client, keys: promotion.promote(client, keys, settings.bundles_dir, version, reason))
    return follow_slots(settings)


def roll_back(settings: Settings, reason: str) -> tuple[str, str | None]:
    """Let the champion's slot serve what it served before.

    Returns:
        that version, and what the registry had to say where its alias could not be set.

    Raises:
        PromotionError: there is nothing to go back to, or it cannot be served.
        StateConflictError: somebody changed the slot at the same moment.
        StoreError: the slot cannot be set.
    """
    version, _ = with_store(
        settings, lambda client, keys: promotion.roll_back(client, keys, settings.bundles_dir, reason)
    )
    return version, follow_slots(settings)


def roll_out(settings: Settings, version: str, share: float, reason: str) -> Rollout | None:
    """Give `version` a share of the traffic, in the challenger's slot. None when that is no share at all.

    Args:
        version: "challenger" for what is in the slot.

    Raises:
        PromotionError: there is no such bundle, or it is damaged.
        StateConflictError: an experiment decides on the traffic, the slot is empty or in use, or the share is none.
        StoreError: nothing has changed, or the slot alone.
    """

    async def change(client: StoreClient, keys: Keys) -> Rollout | None:
        named = None if version == CHALLENGER else version
        check_share(share)
        if named is not None and (await read_state(client, keys)).serving(CHALLENGER) != named:
            await promotion.promote(client, keys, settings.bundles_dir, named, reason, CHALLENGER)
        return await set_rollout(client, keys, share, reason, clock.now_ms(), version=named)

    found = with_store(settings, change)
    follow_slots(settings)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m jobs.promote", description=__doc__.split("\n")[0])
    parser.add_argument("version", help=f"a version, `{ROLLBACK}` for the one that served before, or `{CHALLENGER}`")
    parser.add_argument("--share", type=float, help="of the traffic, for a gradual rollout; 0 ends it")
    parser.add_argument("--reason", default="a person asked for it", help="written beside the decision")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        version, reason = given.version, given.reason
        if given.share is not None:
            found = roll_out(settings, version, given.share, reason)
            print(f"{found.version} gets {found.share:.3g} of the traffic" if found else "no rollout any more")
            return 0
        if version == ROLLBACK:
            version, problem = roll_back(settings, reason)
        else:
            problem = promote(settings, version, reason)
    except (PromotionError, StateConflictError, SettingsError, StoreError) as error:
        print(f"promote: {error}", file=sys.stderr)
        return 1
    print(f"slot {CHAMPION} serves {version}")
    if problem is not None:
        print(f"the registry's alias was not set: {problem}", file=sys.stderr)
    return 0

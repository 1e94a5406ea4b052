"""`python -m jobs.off_policy`: what other ways to fill the last place would have earned, from lists that were shown.

Where `serving.exploration` is above 0, the last place of a list goes by chance: with a small probability to an item
drawn evenly from the other candidates, else to the one that is ranked there. Each list logs that probability, so the
log also tells about policies that did not serve:

    greedy     no exploration: always the item that is ranked there
    uniform    always drawn evenly
    logged     the policy that served (its estimate is the plain mean: a check)

The reward is 1 where the item of the last place was taken up (an event attributed to that very list), or engaged with.
With `--version`, a model version is judged too, as if it had made those lists (`jobs.evaluate.target_policy`): the
probability that it would have put the logged item at the last place, with the exploration that is configured now. It is
judged on what the log could show: `supported` of the `lists` hold at the last place what the version could have put
there. Lists that are no later than the newest event that the version learned from are left out (`too_early`): it has
learned what came of them. Lists that their callers forced count nowhere.

Estimates are IPS, SNIPS and doubly robust (`experiments.policy_value`), with intervals over users. The doubly robust
one takes for a model the mean reward of other users with as many events before: it knows nothing of the items, so all
that it does is to lower the variance.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache

import numpy as np
import pyarrow.compute as pc

from configs.event_types import EventTypes, load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError
from data.event_log import EventLog
from experiments.attribution import CLICK, ENGAGE, event_goals
from experiments.policy_value import OffPolicyValue, off_policy_value
from features.redis.errors import StoreError
from features.serving.slots import CHAMPION
from features.streams.compaction import compact
from jobs.evaluate.target_policy import chances, load_target
from models.bundle.arrays import BundleError

POLICIES = ("logged", "greedy", "uniform")
GREEDY_FROM = 0.5
"""A place got its item with at least this probability only where the item is the one ranked there."""
_FOLDS = 5


@dataclass(frozen=True)
class LastPlaces:
    """The last places of logged lists; all of length n.

    Attributes:
        users: (n,) ids.
        propensity: (n,) probability with which the item got the place.
        reward: (n,) 0 or 1.
        before: (n,) events of the user before the list, by powers of two.
        items: (n,) ids.
        lengths: (n,) number of items on each list.
        times_ms: (n,) when they were shown.
    """

    users: np.ndarray
    propensity: np.ndarray
    reward: np.ndarray
    before: np.ndarray
    items: np.ndarray
    lengths: np.ndarray
    times_ms: np.ndarray

    def some(self, chosen: np.ndarray) -> "LastPlaces":
        """The lists of these numbers."""
        return LastPlaces(*(getattr(self, field.name)[chosen] for field in fields(self)))


def read_lists(log: EventLog, types: EventTypes, goal: int, simulated: bool) -> LastPlaces:
    """Lists of the log that were drawn, with what came of their last places.

    Args:
        goal: CLICK or ENGAGE.
        simulated: whether lists of simulated users are read, instead of real ones.

    Raises:
        DataError: there are none.
    """
    taken = _taken(log, types, goal)
    rows: list[tuple[str, float, float, int, str, int, int]] = []
    for table in log.tables("exposures"):
        for row in table.to_pylist():
            # A list that its caller forced was not drawn as the log says, and nobody was assigned to it.
            if row["propensities"] is None or row.get("forced") or not row["item_ids"]:
                continue
            if bool(row["simulated"]) != simulated:
                continue
            key = row["user_id"], row["recommendation_id"], row["item_ids"][-1]
            activity = int(row.get("before") or 0).bit_length()
            rows.append(
                (
                    row["user_id"], float(row["propensities"][-1]), float(key in taken), activity, row["item_ids"][-1],
                    len(row["item_ids"]), row["time_ms"],
                )
            )  # fmt: skip
    if not rows:
        kind = "simulated" if simulated else "real"
        raise DataError(f"the log holds no list of {kind} users that was drawn: set serving.exploration above 0")
    return LastPlaces(*(np.array(column) for column in zip(*rows, strict=True)))


def evaluate(lists: LastPlaces, policy: str, share: float) -> OffPolicyValue:
    """The value of a policy of `POLICIES`.

    Args:
        share: the share of lists that explored when the log was written (`serving.exploration`).

    Raises:
        ValueError: a share that does not fit the logged propensities.
    """
    return value_of(lists, target_probability(lists.propensity, policy, share))


def value_of(lists: LastPlaces, target: np.ndarray) -> OffPolicyValue:
    """The value of a policy that puts the logged items at their places with these probabilities (n,)."""
    baseline = mean_of_others(lists)
    return off_policy_value(
        lists.reward,
        lists.propensity,
        target,
        model_reward=baseline,
        target_value=baseline,
        users=lists.users,
    )


def target_probability(propensity: np.ndarray, policy: str, share: float) -> np.ndarray:
    """(n,) probability with which a policy would have put the item at the place.

    An item that was drawn has the propensity share / k among k candidates; the ranked one has 1 - share + share / k.
    """
    greedy = propensity >= GREEDY_FROM
    if policy == "logged":
        return propensity
    if policy == "greedy":
        return greedy.astype(np.float64)
    even = np.where(greedy, propensity - (1.0 - share), propensity) / share
    if share >= GREEDY_FROM or (even <= 0).any() or (even > 1).any():
        raise ValueError(f"share: the logged propensities do not come from an exploration of {share:g}; give the share")
    return even


def mean_of_others(lists: LastPlaces) -> np.ndarray:
    """(n,) mean reward of users of the same activity in other folds, so that no reward predicts itself."""
    if not len(lists.reward):
        return np.empty(0)
    _, user = np.unique(lists.users, return_inverse=True)
    fold, overall = user % _FOLDS, float(lists.reward.mean())
    found = np.full(len(lists.reward), overall)
    for held in range(_FOLDS):
        inside = fold == held
        for level in np.unique(lists.before[inside]):
            others = ~inside & (lists.before == level)
            if others.any():
                found[inside & (lists.before == level)] = lists.reward[others].mean()
    return found


def _taken(log: EventLog, types: EventTypes, goal: int) -> set[tuple[str, str, str]]:
    """(user, list, item) of events that name their list and mean what is asked for."""
    found = set()
    meaning = lru_cache(maxsize=65_536)(lambda name, value: event_goals(types, name, value))
    for table in log.tables("events"):
        columns = ("user_id", "recommendation_id", "item_id", "event_type", "value")
        naming = table.filter(pc.is_valid(table["recommendation_id"]))  # not a row of imported history does
        for user, named, item, event_type, value in zip(*(naming[name].to_pylist() for name in columns), strict=True):
            if named and event_type in types.by_name and meaning(event_type, value) & goal:
                found.add((user, named, item))
    return found


def judge(settings: Settings, lists: LastPlaces, version: str, simulated: bool) -> dict[str, object]:
    """Estimates of a model version, "champion" for the one that serves.

    Raises:
        BundleError, DataError, StoreError: what is missing or damaged.
    """
    target = load_target(settings, None if version == CHAMPION else version, simulated)
    later = np.flatnonzero(lists.times_ms > target.learned_ms)
    too_early, lists = len(lists.users) - len(later), lists.some(later)
    if not len(later):
        raise DataError(f"no list was shown after the newest event that {target.version} learned from")
    found = chances(target, lists.users, lists.times_ms, lists.items, lists.lengths)
    known = np.flatnonzero(~np.isnan(found))
    value = value_of(lists.some(known), found[known])
    return {
        "version": target.version,
        "exploration": target.exploration,
        "too_early": too_early,
        "without_history": len(found) - len(known),
        "support": value.supported / len(known) if len(known) else None,
        **asdict(value),
    }


def report(settings: Settings, goal: int, simulated: bool, share: float, version: str | None) -> dict[str, object]:
    """Estimates of every policy. Raises `BundleError`, `DataError`, `StoreError`, ValueError."""
    asyncio.run(compact(settings))  # what was shown a moment ago is still in the streams
    lists = read_lists(EventLog(settings.log_dir), load_event_types(settings.data.events), goal, simulated)
    explored = int((lists.propensity < GREEDY_FROM).sum())
    found: dict[str, object] = {"lists": len(lists.reward), "explored": explored, "simulated": simulated}
    found |= {policy: asdict(evaluate(lists, policy, share)) for policy in POLICIES}
    return found if version is None else found | {"version": judge(settings, lists, version, simulated)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m jobs.off_policy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--reward", choices=["click", "engage"], default="click")
    parser.add_argument("--simulated", action="store_true", help="lists of simulated users, instead of real ones")
    parser.add_argument("--share", type=float, help="serving.exploration when they were shown; as now, if left out")
    parser.add_argument("--version", help=f"a model version to judge, or {CHAMPION}")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        share = settings.serving.exploration if given.share is None else given.share
        goal = CLICK if given.reward == "click" else ENGAGE
        print(json.dumps(report(settings, goal, given.simulated, share, given.version), indent=2))
    except (BundleError, DataError, SettingsError, StoreError, ValueError) as error:
        print(f"off_policy: {error}", file=sys.stderr)
        return 1
    return 0

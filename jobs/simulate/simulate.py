"""`python -m jobs.simulate`: users with a known taste browse the running system over HTTP.

    python -m jobs.simulate --users 500 --lists 4
    python -m jobs.simulate --users 500 --drift 0.5 --category Horror      half-way, everybody's taste changes
    python -m jobs.simulate --users 500 --truth control,new                what these variants are truly worth

Every request and event says that it is simulated (`context`), and so do exposures, results and pages; training leaves
such events out unless it is told otherwise. With `--truth`, a sample of the lists is asked for from each variant at the
same moment; such lists count for no experiment, and their true value is known, so the true effect is measured almost
without noise.

Where the system has API keys, RAYCOMMEND_API_KEY is sent; it needs the scopes recommend and events.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, load_dataset, processed_dir
from jobs.simulate.http_client import key_header, post
from jobs.simulate.simulated_users import Drift, SimulatedUser, chances, draw_users, take_up, true_value

CONTEXT = {"simulated": True}
DRIFT_SHARE = 0.05


@dataclass(frozen=True)
class SimulationOptions:
    """How the simulated users browse.

    Attributes:
        lists: how many lists each user looks at.
        bias: position bias, as `simulated_users.chances` takes it.
        drift: the change of taste; None for none.
        drift_at: share of all lists after which the taste changes.
        truth: variants whose true value is measured.
        truth_share: share of lists at which that value is measured.
    """

    lists: int = 4
    top_k: int = 10
    bias: float = 0.5
    parallel: int = 8
    seed: int = 0
    drift: Drift | None = None
    drift_at: float = 0.5
    truth: tuple[str, ...] = ()
    truth_share: float = 0.25


@dataclass
class Simulated:
    """What happened in a simulation: numbers by variant, before and after the change of taste."""

    shown: dict[str, int] = field(default_factory=dict)
    clicked: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    events: int = 0
    degraded: int = 0
    changed_at_ms: int | None = None
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    """True value of each list shown, before and after."""
    truth: list[dict[str, float]] = field(default_factory=list)
    """variant -> true value, at one moment of one user."""

    def summary(self, truth: Sequence[str]) -> dict[str, Any]:
        """What happened as JSON-ready numbers."""
        found: dict[str, Any] = {
            "simulated": True,
            "events": self.events,
            "degraded": self.degraded,
            "variants": {
                name: {"lists": shown, "click_through": self.clicked.get(name, 0) / shown, "users": self.users[name]}
                for name, shown in sorted(self.shown.items())
            },
        }
        if self.changed_at_ms is not None:
            found["taste_changed_at_ms"] = self.changed_at_ms
            found["true_click_through_before"] = _mean(self.before)
            found["true_click_through_after"] = _mean(self.after)
        if truth and self.truth:
            found["truth"] = true_effects(self.truth, truth)
        return found


def true_effects(found: Sequence[dict[str, float]], variants: Sequence[str]) -> dict[str, Any]:
    """Mean true click-through of each variant, and each one's difference from the first with its standard error."""
    values = {name: np.array([one[name] for one in found]) for name in variants}
    effects = {}
    for name in variants[1:]:
        gain = values[name] - values[variants[0]]
        error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else None
        effects[name] = {"effect": float(gain.mean()), "standard_error": error}
    return {"lists": len(found), "click_through": {n: float(v.mean()) for n, v in values.items()}, "effects": effects}


async def simulate(
    client: httpx.AsyncClient, users: Sequence[SimulatedUser], options: SimulationOptions, note: Callable[[int], None]
) -> Simulated:
    """Let the users browse.

    Raises:
        ExceptionGroup: of httpx.HTTPError; the system does not answer, or refuses, after several tries.
    """
    found = Simulated()
    gate = asyncio.Semaphore(options.parallel)
    total = len(users) * options.lists
    done = 0

    async def browse(number: int, user: SimulatedUser) -> None:
        nonlocal done
        # A generator of its own: what a user does then does not depend on who else is quick.
        generator = np.random.default_rng([options.seed, number])
        async with gate:
            await _tell_history(client, user, found)
            for turn in range(options.lists):
                drift = options.drift if done >= options.drift_at * total else None
                if drift is not None and found.changed_at_ms is None:
                    found.changed_at_ms = clock.now_ms()
                await _look(client, user, turn, options, drift, generator, found)
                done += 1
                note(done)

    async with asyncio.TaskGroup() as group:
        for number, user in enumerate(users):
            group.create_task(browse(number, user))
    return found


async def _tell_history(client: httpx.AsyncClient, user: SimulatedUser, found: Simulated) -> None:
    events = [
        {
            "user_id": user.user_id,
            "item_id": event.item_id,
            "event_type": event.event_type,
            **({} if event.value is None else {"value": event.value}),
            **({"timestamp": event.time_ms / 1000} if event.time_ms else {}),
            "event_id": f"{user.user_id}-h{number}",
            "context": CONTEXT,
        }
        for number, event in enumerate(user.history)
    ]
    if events:
        await post(client, "/api/v1/events/batch", {"events": events})
        found.events += len(events)


async def _look(
    client: httpx.AsyncClient,
    user: SimulatedUser,
    turn: int,
    options: SimulationOptions,
    drift: Drift | None,
    generator: np.random.Generator,
    found: Simulated,
) -> None:
    asked = {"user_id": user.user_id, "top_k": options.top_k, "context": CONTEXT}
    if options.truth and generator.random() < options.truth_share:
        # Before the list that counts, and at the same state of the user for every variant.
        values = {}
        for variant in options.truth:
            answer = await post(client, "/api/v1/recommend", {**asked, "force_variant": variant})
            if answer["variant"] != variant:
                raise ValueError(f"truth: {variant} does not answer, {answer['variant']} does instead")
            values[variant] = true_value(chances(user, _items(answer), options.bias, drift))
        found.truth.append(values)
    answer = await post(client, "/api/v1/recommend", asked)
    items, variant = _items(answer), answer["variant"]
    likely = chances(user, items, options.bias, drift)
    (found.before if drift is None else found.after).append(true_value(likely))
    taken = take_up(user, items, likely, drift, generator)
    found.shown[variant] = found.shown.get(variant, 0) + 1
    found.clicked[variant] = found.clicked.get(variant, 0) + bool(taken)
    found.users[variant] = found.users.get(variant, 0) + (turn == 0)
    found.degraded += answer["degraded"]
    for place, one in enumerate(taken):
        event = {
            "user_id": user.user_id,
            "item_id": one.item_id,
            "event_type": one.event_type,
            "event_id": f"{user.user_id}-{turn}-{place}",
            "recommendation_id": answer["recommendation_id"],
            "context": CONTEXT,
        }
        await post(client, "/api/v1/events", event if one.value is None else {**event, "value": one.value})
        found.events += 1


def _items(answer: dict[str, Any]) -> list[str]:
    return [str(entry["item_id"]) for entry in answer["recommendations"]]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def read_drift(settings: Settings, category: str | None) -> Drift:
    """A change of taste towards a category of the data set.

    Args:
        category: None for the smallest that holds at least a twentieth of the items, or, where there is none, for a
            twentieth of the items by chance.

    Raises:
        DataError: no item has the category.
    """
    items = load_dataset(processed_dir(settings), in_memory=False).items
    ids, of = items["item_id"].astype(str), items["categories"]
    if category is None:
        sizes = of.explode().value_counts()
        large = sizes[sizes >= len(items) * DRIFT_SHARE]
        if large.empty:
            drawn = ids.sample(n=max(1, round(len(ids) * DRIFT_SHARE)), random_state=0)
            return Drift(f"{len(drawn)} items by chance", frozenset(drawn))
        category = min((int(size), str(name)) for name, size in large.items())[1]
    inside = ids[[category in categories for categories in of]]
    if inside.empty:
        known = ", ".join(sorted({name for categories in of for name in categories}))
        raise DataError(
            f"no item has the category {category!r}; {f'there are {known}' if known else 'no item has any'}"
        )
    return Drift(category, frozenset(inside))


def run_simulation(
    settings: Settings, url: str, users: int, options: SimulationOptions, run: str, report: bool = True
) -> Simulated:
    """Draw users and let them browse at `url`."""
    dataset = load_dataset(processed_dir(settings))
    types, trusted = load_event_types(settings.data.events), dataset.meta.time_trusted
    drawn = draw_users(dataset.interactions, types, users, options.seed, run, trusted)
    started = time.perf_counter()
    step = max(1, users * options.lists // 10)

    def note(done: int) -> None:
        if report and done % step == 0:
            print(f"{time.perf_counter() - started:6.1f} s  {done:,} of {users * options.lists:,} lists", flush=True)

    async def drive() -> Simulated:
        limits = httpx.Limits(max_connections=options.parallel)
        async with httpx.AsyncClient(base_url=url, timeout=30.0, limits=limits, headers=key_header()) as client:
            return await simulate(client, drawn, options, note)

    return asyncio.run(drive())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.simulate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="of the system; the local stack's, if left out")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--lists", type=int, default=4, help="that each user looks at")
    parser.add_argument("--parallel", type=int, default=8, help="users at once")
    parser.add_argument("--bias", type=float, default=0.5, help="places are looked at with chance rank^-bias")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", help="part of every user's id; made from the time, if left out")
    parser.add_argument("--drift", type=float, metavar="SHARE", help="after this share of lists the taste changes")
    parser.add_argument("--category", help="the only one that is liked after the change; a small one, if left out")
    parser.add_argument("--truth", metavar="CONTROL,VARIANT,...", help="variants whose true value is measured")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    given = parse(arguments)
    try:
        settings = load_settings()
        options = SimulationOptions(
            lists=given.lists,
            bias=given.bias,
            parallel=given.parallel,
            seed=given.seed,
            drift=None if given.drift is None else read_drift(settings, given.category),
            drift_at=given.drift or 0.0,
            truth=tuple(given.truth.split(",")) if given.truth else (),
        )
        run = given.run or str(int(time.time()))
        url = given.url or f"http://127.0.0.1:{settings.ports.http}"
        found = run_simulation(settings, url, given.users, options, run)
        print(json.dumps(found.summary(options.truth), indent=2))
    except (DataError, SettingsError, ValueError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup as group:
        print(f"simulate: {group.exceptions[0]}", file=sys.stderr)
        return 1
    return 0

"""`python -m jobs.demo` (`make demo`): two experiments on simulated traffic whose truth is known.

The first compares a deliberately weak model with the champion: it has to find the better one, and by how much. The
second compares the champion with itself: it has to find nothing. Both are looked at after every round of users, as
often as one likes, which the always-valid test allows. Everything is marked as simulated; the champion stays what it
is, and the challenger's slot is put back. Where the system has API keys, RAYCOMMEND_API_KEY is sent; it needs the scope
admin.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx

from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError
from features.redis.errors import StoreError
from jobs.simulate.http_client import check_key, key_header
from jobs.simulate.simulate import SimulationOptions, run_simulation, true_effects
from jobs.train.retrain import RetrainOptions, retrain
from models.factors.als import AlsParameters

WEAK = AlsParameters(factors=2, regularization=0.1, alpha=100.0, iterations=1)
ROUND = 60
PLANNED_USERS, PLANNED_USERS_OF_ONE_MODEL = 500, 200
"""In each variant: when they are there and nothing can be shipped, that is the result."""
METRIC = "click_through"


class DemoError(RuntimeError):
    """The demonstration cannot go on."""


def call(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer as JSON. Raises `DemoError` with what the system says, `KeyRefusedError` for want of an API key."""
    answer = client.request(method, path, json=body)
    check_key(answer)
    if answer.status_code >= 400:
        raise DemoError(f"{method} {path}: {answer.json()['error']['message']}")
    return dict(answer.json())


def weak_version(settings: Settings) -> str:
    """Train a model that knows two directions of taste and stopped after one iteration; it takes no slot."""
    print(f"training a weak model: {WEAK.factors} factors, {WEAK.iterations} iteration", flush=True)
    options = RetrainOptions(fixed=WEAK, slot=None, reason="demo: a weak model")
    without = settings.training.model_copy(update={"ranker": False})  # a ranker would make up for the weak factors
    return retrain(settings.model_copy(update={"training": without}), options, lambda percent, line: None).version


def run_experiment(
    settings: Settings,
    client: httpx.Client,
    variants: list[dict[str, Any]],
    hypothesis: str,
    seed: int,
    planned: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run one experiment to its decision.

    Returns:
        Its results, and the truth as the simulation knows it.
    """
    names = tuple(variant["name"] for variant in variants)
    definition = {
        "hypothesis": hypothesis,
        "variants": variants,
        "primary_metric": METRIC,
        "minimum_days": 0,
        "minimum_users": 100,
        "planned_users": planned,
    }
    experiment = call(client, "POST", "/api/v1/experiments", definition)["id"]
    print(f"\nexperiment {experiment}: {hypothesis}", flush=True)
    call(client, "POST", f"/api/v1/experiments/{experiment}/start", {"reason": "demo"})
    wait_for_assignment(client, experiment, settings)
    truth: list[dict[str, float]] = []
    try:
        for number in range(3 * planned // ROUND):
            options = SimulationOptions(lists=3, seed=seed + number, truth=names, truth_share=0.2)
            found = run_simulation(
                settings, str(client.base_url), ROUND, options, f"{experiment}-{number}", report=False
            )
            truth += found.truth
            results = call(client, "GET", f"/api/v1/experiments/{experiment}/results")
            users = ", ".join(f"{variant['name']} {variant['users']}" for variant in results["variants"])
            print(f"  users: {users}: {results['decision']['action']}", flush=True)
            if results["decision"]["action"] != "keep_running":
                break
    finally:
        call(client, "POST", f"/api/v1/experiments/{experiment}/stop", {"reason": "demo: over"})
    return call(client, "GET", f"/api/v1/experiments/{experiment}/results"), true_effects(truth, names)


def wait_for_assignment(client: httpx.Client, experiment: str, settings: Settings, seconds: float = 10.0) -> None:
    """Wait until the replicas that answer have heard of the experiment."""
    deadline = time.monotonic() + seconds
    while True:
        user = {"user_id": f"sim-{experiment}-first", "context": {"simulated": True}}
        if call(client, "POST", "/api/v1/recommend", user)["experiment"] == experiment:
            return
        if time.monotonic() > deadline:
            raise DemoError(f"no request was assigned to {experiment} within {seconds:.0f} s")
        time.sleep(settings.serving.watch_s)


def show(results: dict[str, Any], truth: dict[str, Any]) -> None:
    """Print what was found, beside what is true."""
    for variant in results["variants"]:
        value = variant["metrics"][METRIC]
        low, high = value["interval"] or (None, None)
        true = truth["click_through"][variant["name"]]
        interval = f"[{low:.3f}, {high:.3f}]" if low is not None else f"({value['reason']})"
        found = f"{METRIC} {value['value']:.3f} {interval}, truly {true:.3f}"
        print(f"  {variant['name']:8} {variant['users']:5} users  {found}")
    compared = next(one for one in results["comparisons"] if one["metric"] == METRIC)
    absolute, true = compared["absolute"], truth["effects"][compared["variant"]]
    low, high = absolute["interval"] or (float("nan"), float("nan"))
    print(
        f"  difference {absolute['estimate']:+.3f}, always-valid interval [{low:+.3f}, {high:+.3f}], "
        f"truly {true['effect']:+.3f} (known within {true['standard_error']:.3f})"
    )
    print(f"  decision: {results['decision']['action']}. {results['decision']['reason']}", flush=True)


def demonstrate(settings: Settings, seed: int) -> bool:
    """Run both experiments. True when the better model was found and the A/A experiment found none."""
    url = f"http://127.0.0.1:{settings.ports.http}"
    with httpx.Client(base_url=url, timeout=90.0, headers=key_header()) as client:
        slots = call(client, "GET", "/api/v1/models")
        weak = weak_version(settings)
        variants = [
            {"name": "weak", "weight": 0.5, "version": weak},
            {"name": "tuned", "weight": 0.5, "slot": "champion"},
        ]
        try:
            results, truth = run_experiment(
                settings, client, variants, "the tuned model beats a weak one", seed, PLANNED_USERS
            )
        finally:
            put_back(client, slots)
        show(results, truth)
        better = results["decision"]["winner"] == "tuned"
        same = [{"name": name, "weight": 0.5, "slot": "champion"} for name in ("a", "again")]
        few = PLANNED_USERS_OF_ONE_MODEL
        results, truth = run_experiment(settings, client, same, "the champion beats itself (A/A)", seed + 1000, few)
        show(results, truth)
        none = results["decision"]["winner"] is None
    print(f"\nthe better model was {'found' if better else 'NOT found'}", end="; ")
    print(f"the A/A experiment found {'none' if none else 'ONE'}")
    return better and none


def put_back(client: httpx.Client, before: dict[str, Any]) -> None:
    """Let the challenger's slot hold what it held."""
    challenger = before["slots"].get("challenger")
    if challenger is None:
        call(client, "POST", "/api/v1/models/challenger/clear", {"reason": "demo: over"})
    else:
        body = {"slot": "challenger", "reason": "demo: over"}
        call(client, "POST", f"/api/v1/models/{challenger['version']}/promote", body)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done, or did not find the truth."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        return 0 if demonstrate(load_settings(), given.seed) else 1
    except (DataError, DemoError, SettingsError, StoreError, ValueError, httpx.HTTPError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup as group:
        print(f"demo: {group.exceptions[0]}", file=sys.stderr)
        return 1

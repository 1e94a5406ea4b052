"""`python -m jobs.train_sequence`: data -> rounds of training -> judgement -> bundle -> gate -> `publish`.

A sequence model beside the factors: it reads the order of a user's latest events, and is served from a slot as every
other model, `challenger` if nothing else is said.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from configs import clock
from configs.settings import Settings
from data.dataset import DataError
from features.serving.serving_state import PERSON
from features.serving.slots import CHAMPION
from jobs.batch.serving_stage import catalogue_with_events
from jobs.launch.training_command import Report, run_training
from jobs.train.one_at_a_time import only_retraining
from jobs.train.publish import Trained, publish, remove_unused_bundles
from jobs.train.retrain import bundle_of_champion, read_events, verdict_on, verified
from jobs.train.store_calls import current_state
from jobs.train_sequence.sequence_bundle import write_sequence_bundle
from models.evaluation.gate import GateVerdict
from models.factors.als import AlsParameters
from models.sequence.parameters import SequenceParameters
from models.sequence.stage import fit_on_rows, sequence_stage
from models.sequence.training import SequenceUnavailableError, require_jax
from models.training.past_requests import in_store_order
from models.training.ranker_judgement import SecondStage, judge_stage, judged_from
from models.training.ranker_windows import JUDGED_CONTEXTS, Recipe, requests_after, stage_at

K = 10
_ORDERLESS = (
    "the times of this data set do not say what came before what, so there are no sequences to learn from; "
    "train the factors instead: python -m jobs.retrain"
)


@dataclass(frozen=True)
class SequenceOptions:
    """What the command line asks for; None takes the setting."""

    parameters: SequenceParameters = field(default_factory=SequenceParameters)
    seed: int | None = None
    slot: str | None = "challenger"
    reason: str = "a person asked for it"
    who: str | None = None
    force: bool = False


def train_sequence(settings: Settings, options: SequenceOptions, report: Report) -> Trained:
    """Train and publish one sequence model.

    Raises:
        SequenceUnavailableError: JAX is not installed.
        DataError: no data, too little, or data whose events have no order.
        StoreBusy: another retraining runs; names its job.
        StoreError: the store does not answer.
    """
    require_jax()
    with only_retraining(settings):
        return _train(settings, options, report)


def _train(settings: Settings, options: SequenceOptions, report: Report) -> Trained:
    started_ms = clock.now_ms()
    seed = settings.training.seed if options.seed is None else options.seed
    data = read_events(settings, report)
    if not data.time_trusted:
        raise DataError(f"{data.name}: {_ORDERLESS}")
    catalogue = catalogue_with_events(settings, data)
    data = in_store_order(data)
    state = current_state(settings)
    champion = bundle_of_champion(state)

    training, store = settings.training, settings.store
    factors = AlsParameters(factors=training.factors)
    recipe = Recipe(
        training.weighting, factors, settings.serving.prior_weight, settings.serving.candidates,
        training.trending_candidates, store.history_limit, horizon_s=training.horizon_s,
    )  # fmt: skip
    known = None if champion is None else champion.manifest.created_ms
    latest = judged_from(data, known, training.fewest_judged_users)
    try:
        plain = stage_at(data, catalogue, recipe, latest, seed, training.threads)
        left = len(data) - len(data.before(latest))
        report(5, f"a model of the first {len(data) - left:,} events, to be judged on the {left:,} others")
        early = fit_on_rows(
            data, data.before(latest), training.weighting, options.parameters, seed,
            note=lambda line: report(10, line),
        )  # fmt: skip
        requests = requests_after(plain, latest, 1.0, JUDGED_CONTEXTS, horizon_s=recipe.horizon_s)
        judged = judge_stage(sequence_stage(plain, early), requests, None, K, 0)
        beside = judge_stage(plain, requests, None, K, 0)
        second = SecondStage(None, judged, beside, requests, 0, None, "a sequence model does not read them")
        metrics = second.metrics
        report(50, _describe(metrics))
        report(50, f"the same on all events, for {early.rounds} rounds")
        fitted = fit_on_rows(
            data, data.before(1.0), training.weighting, options.parameters, seed, early.rounds,
            note=lambda line: report(60, line),
        )  # fmt: skip
    except (ValueError, FloatingPointError) as error:
        raise DataError(f"{data.name}: {error}") from error

    path = write_sequence_bundle(data, settings, fitted, seed, metrics)
    manifest, footprint = verified(path)
    report(90, f"bundle {manifest.version} written and verified ({footprint.size_mb:.1f} MB)")
    verdict = verdict_on(settings, data, catalogue, second, champion, footprint, seed)
    trained = Trained(
        path, manifest, data, options.parameters, seed, metrics, second.logged_note, [], verdict, options.reason,
        started_ms, options.force,
    )  # fmt: skip
    report(91, trained.decision)
    slot = _slot(options, verdict)
    publish(settings, trained, slot, options.who or PERSON, state.version, report)
    remove_unused_bundles(settings, report)
    report(100, f"done in {(clock.now_ms() - started_ms) / 1000:.1f} s")
    return trained


def _slot(options: SequenceOptions, verdict: GateVerdict) -> str | None:
    return options.slot if options.force or options.slot != CHAMPION or verdict.promote else None


def _describe(metrics: dict[str, float]) -> str:
    if "latest_ndcg_at_10" not in metrics:
        return "nobody to judge it on in the latest window"
    return (
        f"NDCG@10 {metrics['latest_ndcg_at_10']:.4f} [{metrics['latest_ndcg_at_10_low']:.4f}, "
        f"{metrics['latest_ndcg_at_10_high']:.4f}] over {metrics['latest_users']:.0f} users; factors without a ranker "
        f"{metrics['latest_plain_ndcg_at_10']:.4f}"
    )


def parse_options(arguments: Sequence[str], settings: Settings) -> SequenceOptions:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.train_sequence", description=(__doc__ or "").split("\n")[0])
    defaults = SequenceParameters(length=min(SequenceParameters().length, settings.store.history_limit))
    asked = ("dimensions", "blocks", "heads", "length", "dropout", "rounds")
    for name in asked:
        default = getattr(defaults, name)
        told = SequenceParameters.model_fields[name].description or "share that is left out in training"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=told)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--slot", choices=["champion", "challenger", "none"], default="challenger")
    parser.add_argument("--force", action="store_true", help="take the champion's slot whatever the gate says")
    parser.add_argument("--reason", default=SequenceOptions.reason, help="written beside the decision")
    parser.add_argument("--who", help="who asks for it, written beside the decision; a person, if left out")
    given = parser.parse_args(arguments)
    try:
        parameters = SequenceParameters(**{name: getattr(given, name) for name in asked})
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"--{'.'.join(map(str, first['loc'])) or 'heads'}: {first['msg']}")
    options = SequenceOptions(parameters, given.seed, None, given.reason, given.who, given.force)
    return options if given.slot == "none" else replace(options, slot=given.slot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""

    def train(settings: Settings, report: Report) -> None:
        train_sequence(settings, parse_options(sys.argv[1:] if arguments is None else arguments, settings), report)

    return run_training("train_sequence", train, SequenceUnavailableError)

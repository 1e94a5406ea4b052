"""`python -m jobs.evaluate`: recommendation quality on the fixed protocols, or recommendations for any CSV.

python -m jobs.evaluate --protocol P1 P2 P3
python -m jobs.evaluate --data orders.csv
python -m jobs.evaluate --train ratings.csv --recommend-for all --out recommendations.csv
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.builtin.download import DownloadError
from data.dataset import DataError, Dataset, load_dataset, processed_dir
from data.prepare import MOVIELENS
from jobs.batch.interactions_csv import read_interactions
from jobs.batch.recommend_csv import recommend, write_recommendations
from jobs.evaluate.evaluation_report import (
    REFERENCES,
    compare,
    new_items_table,
    summarise,
    summarise_new_items,
    table,
    tracked_metrics,
    write_report,
)
from jobs.evaluate.given_data import settings_for
from jobs.train.mlflow_registry import MlflowRegistry, RegistryUnavailable
from models.evaluation.applicability import why_not
from models.evaluation.contenders import Contender, Note, ProtocolData, open_bench
from models.evaluation.leave_one_out import leave_one_out
from models.evaluation.new_items import NewItemsArm, held_out_items, new_items
from models.evaluation.new_users import new_users
from models.evaluation.prequential import prequential
from models.evaluation.protocols import MOVIELENS_PARAMETERS, PARAMETERS, benchmark, rolling
from models.evaluation.repeats import repeats
from models.factors.als import AlsParameters
from models.sequence.parameters import SequenceParameters
from models.sequence.training import SequenceUnavailableError, require_jax
from models.training.training_data import training_data_of

PROTOCOLS = {"P1": benchmark, "P2": rolling, "P3": new_users, "P4": prequential, "P5": repeats, "P7": leave_one_out}

USUAL = ["P1", "P2", "P3", "P4", "P5", "P6"]
"""What is asked where nothing is said; P7 only compares with numbers in print."""
NEW_ITEMS = "P6"
"""Items held out, not events: what is measured of it is its own."""


def evaluate_protocols(
    settings: Settings, protocols: Sequence[str], weighting: str, ranker: bool, sequence: bool = False
) -> dict[str, Any]:
    """The report on the imported data set; on MovieLens 100K with the published numbers beside its own.

    Args:
        sequence: whether a sequence model is asked too, in P2, P4 and P7.

    Raises:
        DataError: there is no data set, or none of these protocols can be asked of it.
    """
    dataset = load_dataset(processed_dir(settings))
    data = training_data_of(
        dataset.interactions,
        load_event_types(settings.data.events),
        dataset.meta.name,
        (dataset.meta.user_id_type, dataset.meta.item_id_type),
        0,
        {},
        dataset.meta.fingerprint,
    )
    skipped = {}
    for protocol in protocols:
        if reason := why_not(protocol, data, dataset.meta.time_trusted, _described(dataset)):
            skipped[protocol] = reason
            print(f"{protocol} is left out: {reason}")
    asked = [protocol for protocol in protocols if protocol not in skipped]
    if not asked:
        told = "; ".join(f"{protocol}: {reason}" for protocol, reason in skipped.items())
        raise DataError(f"{dataset.meta.name}: no protocol can be asked of this data set: {told}")
    is_movielens = dataset.meta.name == MOVIELENS
    fixed = MOVIELENS_PARAMETERS if is_movielens else None
    bench = open_bench(
        dataset,
        data,
        weighting,  # type: ignore[arg-type]
        ranker,
        fixed=fixed,
        horizon_s=settings.training.horizon_s,
        history_limit=settings.store.history_limit,
        trending_window=settings.serving.trending_window,
    )
    if sequence:
        require_jax()
        bench = replace(bench, sequence=SequenceParameters())
    started, spent = time.perf_counter(), time.process_time()
    arms: list[Contender] = []
    of_new_items: list[NewItemsArm] = []

    def note(line: str) -> None:
        print(f"{time.perf_counter() - started:6.1f} s  {line}", flush=True)

    for protocol in asked:
        before = len(arms) + len(of_new_items)
        if protocol == NEW_ITEMS:
            of_new_items = _new_items(bench, note)
        else:
            arms += PROTOCOLS[protocol](bench, note)
        if len(arms) + len(of_new_items) == before:
            skipped[protocol] = "nobody can be asked: see the lines above"
    # The published numbers are of one data set, and under "preference" less is relevant: they answer another question.
    published = is_movielens and weighting == "consumption"
    return {
        "data": dataset.meta.name,
        "fingerprint": dataset.meta.fingerprint,
        "events": len(data),
        "users": len(data.users),
        "items": len(data.items),
        "preset": settings.data.events,
        "weighting": weighting,
        "time_trusted": dataset.meta.time_trusted,
        "skipped": skipped,
        "als": {name: one.model_dump() for name, one in bench.chosen.items()},
        "map": "map_at_10 divides by |relevant|, map_k_at_10 by min(|relevant|, 10)",
        "arms": summarise(arms, REFERENCES if published else {}),
        "comparisons": compare(arms),
        "new_items": summarise_new_items(of_new_items),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - spent, 1),
        "measured_ms": clock.now_ms(),
    }


def _described(dataset: Dataset) -> bool:
    """Whether anything is written of the items beside their ids."""
    items = dataset.items
    titled = bool((items["title"] != items["item_id"]).any())
    return titled or bool(dataset.item_attributes) or any(len(names) for names in items["categories"])


def _new_items(bench: ProtocolData, note: Note) -> list[NewItemsArm]:
    """P6's arms; none where it has nobody to ask."""
    data = bench.data
    train = np.flatnonzero(~np.isin(data.item, held_out_items(data, bench.seed)))
    try:
        parameters = bench.parameters(NEW_ITEMS, train, note)
        return new_items(data, bench.catalogue, bench.weighting, parameters, note, bench.seed, bench.threads)
    except ValueError as error:
        note(f"{NEW_ITEMS}: {error}")
        return []


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--protocol", nargs="+", choices=[*PROTOCOLS, NEW_ITEMS], default=USUAL)
    parser.add_argument(
        "--data",
        help="what to evaluate on: a built-in name, a prepared folder, or a table; the imported data if left out",
    )
    parser.add_argument("--map", help="with --data: which columns hold what, as for `make up`")
    parser.add_argument("--items", help="with --data: a table of items")
    parser.add_argument("--users", help="with --data: a table of users")
    parser.add_argument("--preset", help="what the events mean; the data set's own if left out")
    parser.add_argument("--ranker", choices=("on", "off"), default="on")
    parser.add_argument(
        "--sequence",
        action="store_true",
        help="with P2, P4 and P7: a sequence model too, which takes minutes for each (needs the extra `sequence`)",
    )
    parser.add_argument(
        "--weighting",
        choices=("consumption", "preference", "both"),
        default="consumption",
        help="consumption: all that was rated is relevant; preference: ratings of 4 and more",
    )
    parser.add_argument("--report", type=Path, help="directory for evaluation.json, .html and .png")
    parser.add_argument("--train", type=Path, help="CSV with columns user,item[,rating][,timestamp]")
    parser.add_argument("--recommend-for", help="CSV with a column user, or `all`")
    parser.add_argument("--out", type=Path, help="where to write user,item,rank")
    parser.add_argument("--factors", type=int, default=PARAMETERS.factors)
    parser.add_argument("--regularization", type=float, help="with --alpha; chosen on inner splits if left out")
    parser.add_argument("--alpha", type=float)
    given = parser.parse_args(arguments)
    together = (given.train, given.recommend_for, given.out)
    if any(together) and not all(together):
        parser.error("--train, --recommend-for and --out go together")
    if given.data is None and any((given.map, given.items, given.users)):
        parser.error("--map, --items and --users go with --data")
    if (given.regularization is None) != (given.alpha is None):
        parser.error("--regularization and --alpha go together")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    given = parse(arguments)
    try:
        settings = load_settings()
        if given.train is not None:
            parameters = None
            if given.alpha is not None:
                parameters = AlsParameters(
                    factors=given.factors, regularization=given.regularization, alpha=given.alpha
                )
            frame = read_interactions(given.train)
            found = recommend(frame, given.recommend_for, parameters, given.ranker == "on", factors=given.factors)
            write_recommendations(given.out, found)
            print(f"{given.out}: {len(found):,} recommendations for {found['user'].nunique():,} users")
            return 0
        settings = settings_for(settings, given.data, given.map, given.items, given.users, given.preset)
        weightings = ("consumption", "preference") if given.weighting == "both" else (given.weighting,)
        for weighting in weightings:
            report = evaluate_protocols(settings, given.protocol, weighting, given.ranker == "on", given.sequence)
            folder = given.report or settings.state_dir / "evaluation"
            _tell(settings, report, folder / weighting if len(weightings) > 1 else folder)
    except (DataError, DownloadError, SequenceUnavailableError, SettingsError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _tell(settings: Settings, report: dict[str, Any], folder: Path) -> None:
    """Print the report, write it, and log it in MLflow."""
    print(f"weighting: {report['weighting']}")
    print(table(report["arms"], report["comparisons"]))
    print(new_items_table(report["new_items"]), end="")
    files = write_report(folder, report)
    print(f"{report['cpu_seconds']:.0f} s of processor time; written: {', '.join(str(file) for file in files)}")
    tags = {"weighting": str(report["weighting"]), "data_fingerprint": str(report["fingerprint"])}
    tags["data"] = str(report["data"])
    try:
        run = MlflowRegistry(settings).log_report("evaluation", tracked_metrics(report["arms"]), tags, list(files))
        print(f"MLflow run {run}")
    except RegistryUnavailable as error:
        print(f"not in MLflow: {error}")

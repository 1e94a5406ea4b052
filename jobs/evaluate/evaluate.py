"""`python -m jobs.evaluate`: recommendation quality on the fixed protocols, or recommendations for any CSV.

python -m jobs.evaluate --protocol P1 P2 P3
python -m jobs.evaluate --train ratings.csv --recommend-for all --out recommendations.csv
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.event_types import load_event_types
from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, load_dataset, processed_dir
from data.prepare import MOVIELENS
from jobs.batch.interactions_csv import read_interactions
from jobs.batch.recommend_csv import recommend, write_recommendations
from jobs.evaluate.evaluation_report import (
    REFERENCES,
    compare,
    summarise,
    table,
    tracked_metrics,
    write_report,
)
from jobs.train.mlflow_registry import MlflowRegistry, RegistryUnavailable
from models.evaluation.prequential import prequential
from models.evaluation.protocols import PARAMETERS, Contender, benchmark, new_users, open_bench, rolling
from models.factors.als import AlsParameters
from models.training.training_data import training_data_of

PROTOCOLS = {"P1": benchmark, "P2": rolling, "P3": new_users, "P4": prequential}
AT_RANDOM = ("P1", "P3")
"""The protocols that split at random, and so need no times."""
NO_TIMES = (
    "the times of this data set do not say what came before what: nothing is judged in time order, and the splits are "
    "at random"
)


def evaluate_protocols(settings: Settings, protocols: Sequence[str], weighting: str, ranker: bool) -> dict[str, Any]:
    """The report on the imported data set; on MovieLens 100K with the published numbers beside its own.

    Raises:
        DataError: there is no data set, or its times cannot be trusted and only protocols in time order are asked for.
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
    note = None if dataset.meta.time_trusted else NO_TIMES
    if note is not None:
        protocols = [protocol for protocol in protocols if protocol in AT_RANDOM]
        print(note)
    if not protocols:
        raise DataError(f"{dataset.meta.name}: {note}; there are {' and '.join(AT_RANDOM)}")
    bench = open_bench(dataset, data, weighting, ranker)  # type: ignore[arg-type]
    started = time.perf_counter()
    arms: list[Contender] = []
    for protocol in protocols:
        arms += PROTOCOLS[protocol](bench, lambda line: print(f"{time.perf_counter() - started:6.1f} s  {line}"))
    # The published numbers are of one data set, and under "preference" less is relevant: they answer another question.
    published = dataset.meta.name == MOVIELENS and weighting == "consumption"
    return {
        "data": dataset.meta.name,
        "fingerprint": dataset.meta.fingerprint,
        "weighting": weighting,
        "time_trusted": dataset.meta.time_trusted,
        "note": note,
        "map": "map_at_10 divides by |relevant|, map_k_at_10 by min(|relevant|, 10)",
        "arms": summarise(arms, REFERENCES if published else {}),
        "comparisons": compare(arms),
        "seconds": round(time.perf_counter() - started, 1),
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--protocol", nargs="+", choices=sorted(PROTOCOLS), default=sorted(PROTOCOLS))
    parser.add_argument("--ranker", choices=("on", "off"), default="on")
    parser.add_argument(
        "--weighting",
        choices=("consumption", "preference", "both"),
        default="consumption",
        help="consumption: all that was rated is relevant; preference: ratings of 4 and more",
    )
    parser.add_argument("--report", type=Path, help="directory for evaluation.json and .html")
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
        weightings = ("consumption", "preference") if given.weighting == "both" else (given.weighting,)
        for weighting in weightings:
            report = evaluate_protocols(settings, given.protocol, weighting, given.ranker == "on")
            folder = given.report or settings.state_dir / "evaluation"
            _tell(settings, report, folder / weighting if len(weightings) > 1 else folder)
    except (DataError, SettingsError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _tell(settings: Settings, report: dict[str, Any], folder: Path) -> None:
    """Print the report, write it, and log it in MLflow."""
    print(f"weighting: {report['weighting']}")
    print(table(report["arms"], report["comparisons"]))
    data, page = write_report(folder, report)
    print(f"written: {data} and {page}")
    tags = {"weighting": str(report["weighting"]), "data_fingerprint": str(report["fingerprint"])}
    try:
        run = MlflowRegistry(settings).log_report("evaluation", tracked_metrics(report["arms"]), tags, [data, page])
        print(f"MLflow run {run}")
    except RegistryUnavailable as error:
        print(f"not in MLflow: {error}")

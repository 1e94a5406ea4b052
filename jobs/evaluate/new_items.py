"""`python -m jobs.evaluate.new_items`: how soon new items find their users, on the imported data set (protocol P6)."""

import argparse
import sys
import time
from collections.abc import Sequence

from configs.event_types import load_event_types
from configs.settings import SettingsError, load_settings
from data.dataset import DataError, load_dataset, processed_dir
from models.evaluation.metrics import bootstrap_interval
from models.evaluation.new_items import DEPTH, DEPTH_AMONG_NEW, NewItemsArm, new_items
from models.evaluation.protocols import PARAMETERS, open_bench
from models.factors.als import AlsParameters
from models.training.training_data import training_data_of


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.evaluate.new_items", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--weighting", choices=("consumption", "preference"), default="preference")
    parser.add_argument("--factors", type=int, default=PARAMETERS.factors)
    parser.add_argument("--regularization", type=float, default=PARAMETERS.regularization)
    parser.add_argument("--alpha", type=float, default=PARAMETERS.alpha)
    parser.add_argument("--weight-power", type=float, default=PARAMETERS.weight_power)
    parser.add_argument("--seed", type=int, default=0, help="says which items are held out")
    return parser.parse_args(arguments)


def table(arms: Sequence[NewItemsArm], seed: int) -> str:
    """One line for each arm, with 95 % intervals over users."""
    lines = [f"{'':20} recall@{DEPTH} of new items    recall@{DEPTH_AMONG_NEW} among the new   new in lists"]
    for arm in arms:
        found = [bootstrap_interval(values, seed) for values in (arm.recall, arm.among_new)]
        shown = [f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in found]
        lines.append(f"{arm.name:20} {shown[0]}   {shown[1]}   {arm.share:.3f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 with one plain line when it cannot be done."""
    given = parse(arguments)
    started = time.perf_counter()
    try:
        settings = load_settings()
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
        bench = open_bench(dataset, data, given.weighting, ranker=False, seed=given.seed)
        parameters = AlsParameters(
            factors=given.factors,
            regularization=given.regularization,
            alpha=given.alpha,
            weight_power=given.weight_power,
        )
        arms = new_items(
            bench.data,
            bench.catalogue,
            given.weighting,
            parameters,
            lambda line: print(f"{time.perf_counter() - started:6.1f} s  {line}", flush=True),
            given.seed,
        )
    except (DataError, SettingsError, ValueError) as error:
        print(f"new_items: {error}", file=sys.stderr)
        return 1
    print(table(arms, given.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())

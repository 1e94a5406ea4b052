"""`python -m jobs.first_model [--trials N]`: see to it that there is a model to serve.

Does nothing where the champion's bundle is in place, or where there are no events yet: autopilot trains once there are
enough. Otherwise submits a training to the cluster and follows it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.settings import Settings, SettingsError, load_settings
from data.dataset import DataError, processed_dir, read_meta
from data.event_log import EventLog
from features.redis.errors import StoreError
from features.serving.serving_state import FIRST_START
from features.serving.slots import CHAMPION
from jobs.launch.submit import main as submit
from jobs.train.store_calls import current_slots


def champion(settings: Settings) -> str | None:
    """Version of the model that is there to be served, or None. Raises `features.redis.errors.StoreError`."""
    slot = current_slots(settings).get(CHAMPION)
    if slot is None or ("://" not in slot.uri and not Path(slot.uri).is_dir()):
        return None
    return slot.version


def training_command(trials: int | None) -> list[str]:
    """The command that trains the first model."""
    options = [] if trials is None else ["--trials", str(trials)]
    return ["python", "-m", "jobs.retrain", "--reason", "the first model", "--who", FIRST_START, *options]


def _events(settings: Settings) -> int:
    """How many events there are to learn from. Raises `DataError` where the data set or the log cannot be read."""
    return read_meta(processed_dir(settings)).n_interactions + EventLog(settings.log_dir).count_events(True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is 0 where there is a model in the end."""
    parser = argparse.ArgumentParser(prog="python -m jobs.first_model", description=__doc__)
    parser.add_argument("--trials", type=int, help="number of trials of the search, if there is one")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        version = champion(settings)
        empty = version is None and not _events(settings)
    except (StoreError, SettingsError, DataError) as error:
        print(f"first_model: {error}", file=sys.stderr)
        return 1
    if version is not None:
        print(f"model: {version}, already there", flush=True)
        return 0
    if empty:
        print(
            "model: none yet, and no events to learn from: what is popular or new answers, and autopilot trains the "
            f"first one after {settings.autopilot.new_events:,} events",
            flush=True,
        )
        return 0
    print("model: none yet, training the first one", flush=True)
    return submit(["--wait", "--", *training_command(given.trials)])

"""Finished trials of a search, on disk: a retraining that was killed goes on after its last finished trial.

What the searcher proposes follows from its seed and the results so far. So a search that starts again proposes the same
trials in the same order, and those that are written down here are answered without fitting anything.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.train.search_space import SearchSpace


class TrialLog:
    """The trials of one search.

    Args:
        directory: the folder of the logs of all searches.
        defines: whatever the results depend on: data, weighting, factors, seed. Another value is another search.
    """

    def __init__(self, directory: Path, space: SearchSpace, defines: Mapping[str, object]) -> None:
        text = json.dumps([space.model_dump(mode="json"), dict(defines)], sort_keys=True)
        self.path = directory / f"trials-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"

    def read(self) -> dict[str, dict[str, Any]]:
        """`key` of the trial's parameters -> what it reported. A line that a kill cut off is left out."""
        if not self.path.exists():
            return {}
        found = {}
        for line in self.path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[record["key"]] = record["result"]
        return found

    def add(self, config: Mapping[str, float], result: Mapping[str, Any]) -> None:
        """Write a finished trial down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            # The line break comes first, so that a line cut off by a kill does not swallow this one.
            file.write("\n" + json.dumps({"key": trial_key(config), "result": dict(result)}))

    def remove(self) -> None:
        """Delete the log of a search that has ended."""
        self.path.unlink(missing_ok=True)


def trial_key(config: Mapping[str, float]) -> str:
    """The same for the same parameters, to the last bit."""
    return json.dumps({name: float(value) for name, value in config.items()}, sort_keys=True)

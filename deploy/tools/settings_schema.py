"""Writes the schema of the project's settings into the chart's: `.venv/bin/python deploy/tools/settings_schema.py`.

So `settings` among the chart's values is checked field by field before anything is made. With --check it only compares.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from configs.settings import Settings  # noqa: E402

FILE = ROOT / "deploy" / "helm" / "raycommend" / "values.schema.json"
PREFIX = "Settings"
# The chart decides these itself.
NOT_IN_VALUES = ("state_dir", "data_dir", "environment", "secrets", "ports")
_WORDS = ("title", "description", "default")


def _bare(schema: Any, names: bool = False) -> Any:
    """The schema without words and defaults, and with references to the chart's definitions.

    Args:
        names: whether the keys are names of fields, which may be called `title` too.
    """
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema.replace("#/$defs/", f"#/$defs/{PREFIX}") if isinstance(schema, str) else schema
    return {
        key: _bare(value, key in ("properties", "$defs")) for key, value in schema.items() if names or key not in _WORDS
    }


def with_settings(chart: dict[str, Any]) -> dict[str, Any]:
    """The chart's schema with that of the settings as they are now."""
    given = _bare(Settings.model_json_schema())
    own = {name: one for name, one in chart["$defs"].items() if not name.startswith(PREFIX)}
    # Of a group only what is overridden is given.
    groups = {f"{PREFIX}{name}": one for name, one in given.pop("$defs").items()}
    groups.pop(f"{PREFIX}Ports")
    fields = {name: one for name, one in given["properties"].items() if name not in NOT_IN_VALUES}
    settings = {"type": "object", "additionalProperties": False, "properties": fields}
    return {
        **chart,
        "properties": {**chart["properties"], "settings": settings},
        "$defs": {**own, **dict(sorted(groups.items()))},
    }


def text(chart: dict[str, Any]) -> str:
    return json.dumps(chart, indent=2) + "\n"


if __name__ == "__main__":
    known = FILE.read_text()
    made = text(with_settings(json.loads(known)))
    if "--check" in sys.argv[1:]:
        sys.exit(0 if made == known else "values.schema.json is not that of the settings: run `make chart-schema`")
    FILE.write_text(made)

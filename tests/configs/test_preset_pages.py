"""The page of each preset shows what its file decides; where they differ, the failure shows the table to put in."""

from typing import Any

import pytest

from configs.event_types import CONFIGS_DIR, ByValue, EventType, load_event_types
from configs.preset_settings import preset_settings
from configs.settings import PROJECT_DIR, load_settings

PAGES = PROJECT_DIR / "docs" / "presets"
PRESETS = sorted(path.stem for path in (CONFIGS_DIR / "presets").glob("*.yaml"))
HEAD = [
    "| event type | preference | consumption | hides the item | says no | conversion |",
    "|---|---|---|---|---|---|",
]
WINDOWS = ("attribution_window_s", "dedupe_window_s")


def confidence(value: Any) -> str:
    if not isinstance(value, ByValue):
        return f"{value:g}"
    if value.linear is not None:
        return f"value / {value.linear.per:g}, at most {value.linear.max:g}"
    assert value.steps is not None
    return ", ".join(f"{counts:g} from {threshold:g}" for threshold, counts in value.steps)


def row(name: str, kind: EventType) -> str:
    refuses = "always" if kind.excludes else ""
    if kind.excludes_below is not None:
        refuses = f"below {kind.excludes_below:g}"
    cells = [
        f"`{name}`",
        confidence(kind.preference),
        confidence(kind.consumption),
        "yes" if kind.seen else "",
        refuses,
        "yes" if kind.conversion else "",
    ]
    return f"| {' | '.join(cells)} |"


def expected(preset: str) -> list[str]:
    lines = [*HEAD, *(row(name, kind) for name, kind in load_event_types(preset).by_name.items()), ""]
    settings = load_settings(data={"events": preset})
    store, own = settings.store, preset_settings(preset).get("store", {})
    lines += ["| window | |", "|---|---|"]
    for name in WINDOWS:
        whose = "this preset" if name in own else "as everywhere"
        lines.append(f"| `store.{name}` | {getattr(store, name) / 3600:g} hours ({whose}) |")
    whose = "this preset" if "history_limit" in own else "as everywhere"
    lines.append(f"| `store.history_limit` | {store.history_limit:,} events ({whose}) |")
    whose = "this preset" if "serving" in preset_settings(preset) else "as everywhere"
    lines.append(f"| `serving.trending_window` | {settings.serving.trending_window} ({whose}) |")
    horizon_s = settings.training.horizon_s
    shown = "the next five events (as everywhere)" if horizon_s is None else f"{horizon_s / 3600:g} hours (this preset)"
    return [*lines, f"| `training.horizon_s` | {shown} |"]


def test_every_preset_has_a_page_and_every_page_a_preset() -> None:
    assert sorted(page.stem for page in PAGES.glob("*.md")) == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_the_tables_of_a_page_are_those_of_the_preset(preset: str) -> None:
    page = (PAGES / f"{preset}.md").read_text().splitlines()
    start = page.index(HEAD[0])
    lines = expected(preset)
    found = page[start : start + len(lines)]
    assert found == lines, "\n".join(["docs/presets has other tables; put these in:", *lines])
    assert set(preset_settings(preset)) <= {"store", "serving", "training"}, (
        "the page shows settings of these groups only"
    )
    assert set(preset_settings(preset).get("serving", {})) <= {"trending_window"}, "the page shows this one only"
    assert set(preset_settings(preset).get("training", {})) <= {"horizon_s"}, "the page shows this one only"
    assert set(preset_settings(preset).get("store", {})) <= {*WINDOWS, "history_limit"}, "the page shows these only"

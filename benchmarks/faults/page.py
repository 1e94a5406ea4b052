"""docs/what-it-survives.md, made from what was measured."""

from pathlib import Path

from benchmarks.faults.watching import FaultVerdict

PAGE = Path("docs/what-it-survives.md")


def write_page(verdicts: list[FaultVerdict], machine: str, command: str, profile: str, path: Path = PAGE) -> None:
    """Write the page of one run of all faults."""
    acknowledged = sum(one.acknowledged for one in verdicts)
    kept = sum(not one.broken for one in verdicts)
    lines = [
        "# What it survives",
        "",
        "This page is made by a run, not by hand. Clients ask for lists and send events while a part is broken; every",
        "answer is kept, and afterwards each acknowledged event is looked for in the store's streams and in the log.",
        "",
        f"{machine}; profile {profile}; `{command}`. {acknowledged:,} events were acknowledged, "
        f"{sum(one.lost for one in verdicts):,} of them lost, {sum(one.doubled for one in verdicts):,} doubled. "
        f"{kept} of {len(verdicts)} promises were kept.",
        "",
        "*Lists* are those answered and, after the stroke, those that failed; *again after* is the time from the break",
        "to the last failed one. *Events* are those acknowledged and, after the stroke, refusals, each of which was",
        "sent again until it was acknowledged.",
        "",
        "| what breaks | promise | kept | lists | again after | slowest list | events | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(one) for one in verdicts]
    broken = [(one.fault.name, text) for one in verdicts for text in one.broken]
    if broken:
        lines += ["", "## Promises that were not kept", "", *(f"- {name}: {text}" for name, text in broken)]
    path.write_text("\n".join(lines) + "\n")


def _row(one: FaultVerdict) -> str:
    kept = "no" if one.broken else "yes"
    return (
        f"| {one.fault.name} | {one.fault.promise} | {kept} | {one.lists:,} / {one.failed:,} | {one.back_s:.1f} s "
        f"| {one.slowest_s:.1f} s | {one.acknowledged:,} / {one.refused:,} | {one.note} |"
    )

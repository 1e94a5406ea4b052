"""Imports as the state folder has them: what was read, what was refused and why. Bounded, however many there were."""

import heapq
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from deployments.http.schemas import iso_time

MOST_IMPORTS = 10
MOST_REFUSALS = 20
REPORT_BYTES = 64_000
"""How much of a report of refused rows is read."""
MOST_REASON = 300
STATE_END, REPORT_END, REPORTS_END, LOOKED_AT_END = ".json", "-refused.jsonl", ".jsonl", "-inspected.jsonl"
"""How the names of the files end: the state of an import that can go on, its report of refused rows, any report, and
that of a table that was looked at only."""


class RefusedRow(BaseModel):
    file: str | None
    row: int | None
    field: str | None = Field(description="the field or column")
    reason: str


class ImportView(BaseModel):
    """An import, as the state folder has it. Of one that left nothing but a report the counts are null."""

    name: str = Field(description="of the file, with the beginning of its hash; or of the report")
    at: str = Field(description="when it was last worked on")
    rows: int | None
    recorded: int | None
    duplicates: int | None
    refused: int | None
    finished: bool | None
    report: str | None = Field(description="the file that names the refused rows; null where none was refused")
    first_refused: list[RefusedRow] = Field(description=f"the first of them, at most {MOST_REFUSALS}")


def latest_imports(folder: Path) -> Iterator[ImportView]:
    """The latest imports, the latest first. What is no record of an import is left out."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.stat().st_mtime for entry in entries}
    except FileNotFoundError:
        return
    own = {name for name in found if not name.endswith(LOOKED_AT_END)}
    own = {
        name
        for name in own
        if name.endswith(STATE_END)
        or (name.endswith(REPORTS_END) and name.removesuffix(REPORT_END) + STATE_END not in found)
    }
    for name in heapq.nlargest(MOST_IMPORTS, own, key=lambda name: (found[name], name)):
        try:
            yield _import(folder / name, iso_time(int(found[name] * 1000)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def _import(path: Path, at: str) -> ImportView:
    if path.suffix == STATE_END:
        state, report = json.loads(path.read_bytes()), path.with_name(path.stem + REPORT_END)
        counts = {name: state[name] for name in ("rows", "recorded", "duplicates", "refused", "finished")}
    else:
        report, counts = path, dict.fromkeys(("rows", "recorded", "duplicates", "refused", "finished"))
    refusals = _refusals(report)
    shown = str(report) if refusals else None
    return ImportView(name=path.stem, at=at, report=shown, first_refused=refusals, **counts)


def _refusals(report: Path) -> list[RefusedRow]:
    if not report.is_file():
        return []
    with report.open("rb") as file:
        lines = file.read(REPORT_BYTES).splitlines(keepends=True)
    rows = [json.loads(line) for line in lines[:MOST_REFUSALS] if line.endswith(b"\n")]
    return [
        RefusedRow(
            file=row.get("file"),
            row=row.get("row"),
            field=row.get("field") or row.get("column"),
            reason=str(row["reason"])[:MOST_REASON],
        )
        for row in rows
    ]

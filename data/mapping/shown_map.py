"""A map as people read it: the column of each field, with samples; and what to write where it is not clear."""

from typing import Any

import yaml

from data.mapping.guessing.guess import Guess
from data.mapping.sample import Sample


def shown_part(part: str, sample: Sample, guess: Guess) -> list[str]:
    """Lines such as `user_id <- household_id    900, 1228, 906`; columns that are not used come last."""
    rows: list[tuple[str, str, str]] = []
    used: set[str] = set()
    for field, value in guess.fields.items():
        if field == "attributes":
            for name, kind in value.items():
                column = kind.get("column", name) if isinstance(kind, dict) else name
                word = kind["type"] if isinstance(kind, dict) else kind
                word += " with a decimal comma" if isinstance(kind, dict) and kind.get("decimal") == "," else ""
                used.add(column)
                rows.append((f"{name} ({word})", f"<- {column}", ", ".join(sample.texts(column))))
        elif field != "read":
            columns, source = _source(field, value, sample)
            used.update(columns)
            rows.append((field, source, ", ".join(text for column in columns for text in sample.texts(column))))
    widths = [max((len(row[place]) for row in rows), default=0) for place in (0, 1)]
    lines = [f"{part}: {sample.address}"]
    lines += [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    if unused := [column for column in sample.columns if column not in used]:
        lines.append(f"  not used: {', '.join(unused)}")
    if sample.nested:
        lines.append(f"  not read: {', '.join(sample.nested)} (objects; nested fields must be flattened before)")
    return [*lines, *(f"  note: {note}" for note in guess.notes)]


def _source(field: str, value: Any, sample: Sample) -> tuple[list[str], str]:
    if isinstance(value, str):
        kind = str(sample.table[value].type)
        if field == "time":
            how = (
                "times" if "timestamp" in kind or "date" in kind else "numbers" if _numeric(sample, value) else "dates"
            )
            return [value], f"<- {value} ({how}, UTC {'assumed' if 'tz=' not in kind else 'known'})"
        return [value], f"<- {value}"
    if isinstance(value, list):
        return value, f"<- {', '.join(value)}"
    if value.get("rows"):
        return [], "= the order of the rows"
    if "constant" in value:
        return [], f"= {value['constant']} (constant)"
    columns = value.get("columns") or [value["column"]]
    more = []
    if value.get("order"):
        more.append("only the order counts")
    if value.get("format"):
        more.append(f"as {value['format']}")
    if value.get("decimal") == ",":
        more.append("with a decimal comma")
    if value.get("scale"):
        more.append(f"scale {value['scale'][0]:g} to {value['scale'][1]:g}")
    if value.get("separator"):
        more.append(f"separated by {value['separator']!r}")
    more += [f"{name}: {'/'.join(words)}" for name, words in (value.get("map") or {}).items()]
    if value.get("leave_out"):
        more.append(f"left out: {'/'.join(value['leave_out'])}")
    return columns, f"<- {', '.join(columns)}" + (f" ({'; '.join(more)})" if more else "")


def _numeric(sample: Sample, column: str) -> bool:
    return sample.share_of_numbers(column) == 1.0


def open_questions(parts: dict[str, Guess]) -> str:
    """What is not clear, and the exact map to write; empty where all is clear."""
    lines: list[str] = []
    answer: dict[str, Any] = {}
    for part, guess in parts.items():
        for question in guess.questions:
            lines.append(f"{part}.{question.field}: {question.why}")
            if question.answers:
                others = [yaml.safe_dump(a, default_flow_style=True, allow_unicode=True, width=1000).split("\n")[0]
                          for a in question.answers[:8]]  # fmt: skip
                lines.append(f"  it may be {' or '.join(others)}")
            told = answer.setdefault(part, {})
            free = [one for one in question.answers if one not in told.values()]
            told[question.field] = free[0] if free else "COLUMN"
    if not lines:
        return ""
    example = yaml.safe_dump(answer, sort_keys=False, allow_unicode=True, width=110).rstrip()
    indented = "\n".join(f"  {line}" for line in example.split("\n"))
    return "\n".join(
        [*lines, "Write into a file map.yaml what is right, for example", indented, "and give it with MAP=map.yaml"]
    )

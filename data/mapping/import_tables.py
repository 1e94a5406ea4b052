"""Reads a user's tables by a plan and writes them as the data set, whole or not at all."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.dataset import ITEMS, USERS, DataError, DatasetMeta, IdType
from data.dataset_writer import DatasetWriter
from data.mapping.catalogue import CatalogueReader, with_missing
from data.mapping.column_map import MAP_FILE, Items, Users
from data.mapping.events import EventReader
from data.mapping.guessing.guess_events import BELOW_0
from data.mapping.plan import ImportPlan
from data.mapping.refusals import Refusals
from data.sources.addresses import shown
from data.sources.open_table import open_table

MOST_AT_ONCE = 0.5
"""Above this share of events at one moment, the times are those of a copy and not of what happened."""


@dataclass(frozen=True)
class ImportedTables:
    """What an import did.

    Attributes:
        read: rows of the table of events.
        refusals: of all tables.
        left_out: rows by the word of their type that the map leaves out.
        notes: what people should know of the data.
    """

    meta: DatasetMeta
    read: int
    refusals: Refusals
    left_out: Counter[str]
    notes: list[str]


def import_tables(
    plan: ImportPlan, directory: Path, report: Path | None, progress: Callable[[int], object] = lambda rows: None
) -> ImportedTables:
    """Write the data set of a plan.

    Args:
        directory: replaced as a whole at the end.
        report: where refused rows are written; made only if there are any.
        progress: told the number of rows just read.

    Raises:
        DataError: a source cannot be read or changes meanwhile, more than half of its rows are refused, there is too
            little to learn from, or the disk is full. What was there before stays.
    """
    chosen, sources = plan.chosen, plan.sources
    with Refusals(report) as refusals, DatasetWriter(directory) as writer:
        digest = sources.digest()
        reader = EventReader(chosen.interactions, plan.types, shown(sources.events), refusals, int(time.time() * 1000))
        moments: list[np.ndarray] = []
        for batch in open_table(sources.events, chosen.interactions.read).batches:
            table = reader.convert(batch)
            moments += [chunk.to_numpy() for chunk in table["timestamp_ms"].chunks]
            writer.add(table)
            refusals.check(shown(sources.events), reader.read)
            progress(table.num_rows)
        refusals.check(shown(sources.events), reader.read, ended=True)
        reader.check_losses()
        _check_enough(plan, writer)
        trusted, notes = _times_trusted(plan, moments)
        notes += [
            f"events of type {name} carry no value: that of {chosen.interactions.value.column} is left out"
            for name in sorted(reader.valueless)
            if chosen.interactions.value is not None
        ]
        notes += [
            f"{count:,} events of type {name} have a value below 0 and count like the others; {BELOW_0}"
            for name, count in reader.negative.items()
        ]
        if unseen := reader.unseen_words():
            notes.append(f"event_type: no row holds the words of the map {', '.join(unseen[:20])}")
        items, item_attributes = _catalogue(chosen.items, sources.items, refusals, writer.items, "item", notes)
        users, user_attributes = _catalogue(chosen.users, sources.users, refusals, writer.users, "user", notes)
        meta = writer.finish(
            items,
            users,
            name=chosen.name or sources.dataset_name(),
            source=", ".join(map(_short, sources.addresses)),
            source_hash=digest,
            id_types=(_id_type(users["user_id"]), _id_type(items["item_id"])),
            item_attributes=item_attributes.attributes if item_attributes else None,
            user_attributes=user_attributes.attributes if user_attributes else None,
            preset=chosen.preset,
            time_trusted=trusted,
            beside={MAP_FILE: chosen.text()},
        )
    return ImportedTables(meta, reader.read, refusals, reader.left_out, notes)


def _check_enough(plan: ImportPlan, writer: DatasetWriter) -> None:
    chosen, source = plan.chosen.interactions, shown(plan.sources.events)
    if not writer.n_interactions:
        raise DataError(f"{source}: it holds no interactions")
    for found, what, column in ((writer.users, "user", chosen.user_id), (writer.items, "item", chosen.item_id)):
        if len(found) < 2:
            raise DataError(
                f"{source}: column {column}: all events are of one {what} ({next(iter(found))}); a model needs at "
                f"least 2 users and 2 items: is {column} the {what}_id?"
            )


def _times_trusted(plan: ImportPlan, moments: list[np.ndarray]) -> tuple[bool, list[str]]:
    """Whether the times say what came before what, and what to tell people where they do not."""
    if plan.chosen.interactions.time.rows:
        return False, ["without times nothing is judged in time order: evaluations split at random"]
    ordered = np.sort(np.concatenate(moments))
    edges = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1, append=ordered[-1] + 1))
    largest = int(np.diff(edges).max()) / len(ordered)
    if largest <= MOST_AT_ONCE:
        return True, []
    return False, [
        f"{largest:.0%} of the events are at one moment: such times do not say what came before what, and evaluations "
        "split at random"
    ]


def _catalogue(
    chosen: Items | Users | None,
    address: str | None,
    refusals: Refusals,
    known: dict[str, None],
    what: str,
    notes: list[str],
) -> tuple[pa.Table, CatalogueReader | None]:
    """The table of items or users; ids of the events that it lacks are added, with nothing but their id."""
    empty = (ITEMS if what == "item" else USERS).empty_table()
    if chosen is None or address is None:
        return with_missing(empty, known), None
    before = refusals.rows
    address_shown = shown(address)
    reader = CatalogueReader(chosen, address_shown, refusals)
    parts = []
    for batch in open_table(address, chosen.read).batches:
        parts.append(reader.convert(batch))
        _check_half(address_shown, refusals, refusals.rows - before, reader.read)
    table = pa.concat_tables(parts).cast(reader.schema) if parts else reader.schema.empty_table()
    ids = set(table[0].to_pylist())
    described = sum(text in ids for text in known)
    if not described:
        ours, theirs = ", ".join(list(known)[:3]), ", ".join(list(ids)[:3])
        raise DataError(
            f"{address_shown}: it describes not one {what} of the events: they name {ours}, and it has {theirs}; "
            f"is {table.column_names[0]} the right column?"
        )
    notes.append(f"{described:,} of {len(known):,} {what}s with events are described; {what}s in all: "
                 f"{len(ids | set(known)):,}")  # fmt: skip
    return with_missing(table, known), reader


def _check_half(address: str, refusals: Refusals, refused: int, read: int) -> None:
    if refused * 2 > read and read:
        reasons = "\n  ".join(refusals.first)
        raise DataError(
            f"{address}: {refused:,} of {read:,} rows were refused, more than half. The first are:\n  {reasons}"
        )


def _id_type(ids: pa.ChunkedArray) -> IdType:
    """Whole numbers where every id is one in its usual form: 7, and not 007."""
    return "int" if all(_whole(text) for text in ids.to_pylist()) else "str"


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text[0] != "0" or text == "0") and len(text) < 19


def _short(address: str) -> str:
    return shown(address) if "://" in address else address.rsplit("/", 1)[-1]

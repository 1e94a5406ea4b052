"""A user's table of events as canonical interactions, batch by batch, by a map."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.event_types import EventTypes
from data.dataset import INTERACTIONS, DataError
from data.fields.cells import is_absent
from data.mapping.column_map import Events
from data.mapping.conversions import Faults, ids, numbers, times
from data.mapping.refusals import Refusals
from data.sources.batches import RowBatch

FIRST_ROW_MS = 946_684_800_000
"""2000-01-01, the moment of the first row where the order of the rows stands in for time; a second for each."""
AHEAD_MS = 86_400_000
_RATING = (0.5, 5.0)
_FEWEST = 3  # refused rows of one kind that are more than single slips


_READ = pa.schema([one.with_nullable(True) for one in INTERACTIONS])


@dataclass(frozen=True)
class ReadRows:
    """Rows of a table as events.

    Attributes:
        table: (n rows) with the columns of `INTERACTIONS`; only where a row is good it means anything.
        faults: the column and the reason of each refused row, by its place.
        good: (n,) bool, neither refused nor left out by the map.
    """

    table: pa.Table
    faults: dict[int, tuple[str, str]]
    good: np.ndarray


@dataclass
class EventReader:
    """Turns batches into interactions and refuses rows on the way.

    Attributes:
        left_out: words of the type's column whose rows the map leaves out -> how many.
        valueless: event types that carry no value, although the map names a column for it.
        negative: event types -> how many of their events have a value below 0.
    """

    chosen: Events
    types: EventTypes
    source: str
    refusals: Refusals
    now_ms: int
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    valueless: set[str] = field(default_factory=set)
    negative: Counter[str] = field(default_factory=Counter)
    _of_type: Counter[str] = field(default_factory=Counter)
    _refused_of_type: Counter[str] = field(default_factory=Counter)
    _why_of_type: dict[str, str] = field(default_factory=dict)
    _values_seen: int = 0
    _values_refused: int = 0
    _seen_words: set[str] = field(default_factory=set)
    _taken: int = 0

    def __post_init__(self) -> None:
        kind = self.chosen.event_type
        for name in [kind.constant] if kind.constant is not None else list(kind.map):
            if name not in self.types.by_name:
                raise DataError(
                    f"interactions.event_type: {name!r} is no event type; there are {', '.join(self.types.by_name)}"
                )
        self._words = {word.strip().lower(): name for name, words in kind.map.items() for word in words}
        self._words = {name: name for name in self.types.by_name} | self._words if kind.column else self._words
        self._skipped = {word.strip().lower() for word in kind.leave_out}

    def convert(self, batch: RowBatch) -> pa.Table:
        """The good rows of a batch with the columns of `data.dataset.INTERACTIONS`."""
        file = batch.file or self.source
        self.read += batch.table.num_rows + len(batch.refused)
        for row, reason in batch.refused:
            self.refusals.add(file, row, None, reason)
        found = self.read_rows(batch.table)
        for place, (column, reason) in found.faults.items():
            self.refusals.add(file, int(batch.rows[place]), column, reason)
        table = found.table.filter(pa.array(found.good)).cast(_READ)
        below = pc.fill_null(pc.less(table["value"], 0), False)
        self.negative.update(table["event_type"].filter(below).to_pylist())
        return table

    def read_rows(self, table: pa.Table) -> ReadRows:
        """What the rows of a table say, and why some say nothing that can be taken."""
        chosen, n = self.chosen, table.num_rows
        if not n:
            return ReadRows(_READ.empty_table(), {}, np.zeros(0, bool))
        users, user_faults = ids(table[chosen.user_id])
        items, item_faults = ids(table[chosen.item_id])
        moments, time_faults = self._times(table)
        kinds, kind_faults, skipped = self._types(table)
        values, value_faults = self._values(table, kinds)
        bad = np.zeros(n, bool)
        parts: list[tuple[str, Faults]] = [
            (chosen.user_id, user_faults),
            (chosen.item_id, item_faults),
            (chosen.time.column or "", time_faults),
            (chosen.event_type.column or "", kind_faults),
            (chosen.value.column if chosen.value else "", value_faults),
        ]
        told: dict[int, tuple[str, str]] = {}
        for column, faults in parts:
            for place, reason in sorted(faults.items()):
                if not bad[place] and not skipped[place]:
                    bad[place] = True
                    told[place] = column, reason
        self._count(kinds, bad, parts)
        self._taken += n
        found = pa.table(
            [users, items, kinds, pa.array(values, pa.float64(), from_pandas=True), pa.array(moments)],
            names=INTERACTIONS.names,
        )
        return ReadRows(found, told, ~bad & ~skipped)

    def _count(self, kinds: pa.Array, bad: np.ndarray, parts: list[tuple[str, Faults]]) -> None:
        coded = kinds.dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        for code, name in enumerate(coded.dictionary.to_pylist()):
            mine = codes == code
            self._of_type[name] += int(mine.sum())
            self._refused_of_type[name] += int((mine & bad).sum())
            if name not in self._why_of_type and (places := np.flatnonzero(mine & bad)).size:
                column, faults = next((column, faults) for column, faults in parts if int(places[0]) in faults)
                self._why_of_type[name] = f"column {column}: {faults[int(places[0])]}"

    def check_losses(self) -> None:
        """Stop where most rows of one event type, or most cells of the value, were refused: those are no single slips.

        Raises:
            DataError: names the type or the column, the reason and the remedy.
        """
        value = self.chosen.value
        remedy = (
            "mend the column, or name in the map another one or its form (as time: {column, format}, value: {column, "
            'scale, decimal: ","}, value: null), or leave such rows out with event_type: {leave_out: [...]}'
        )
        for name, refused in self._refused_of_type.items():
            if refused >= _FEWEST and refused * 2 > self._of_type[name]:
                raise DataError(
                    f"{self.source}: {refused:,} of {self._of_type[name]:,} rows of type {name} were refused; nothing "
                    f"was imported. The first: {self._why_of_type[name]}. To do: {remedy}"
                )
        if value is not None and self._values_refused >= _FEWEST and self._values_refused * 2 > self._values_seen:
            raise DataError(
                f"{self.source}: column {value.column}: {self._values_refused:,} of {self._values_seen:,} values were "
                f"refused; nothing was imported. To do: {remedy}"
            )

    def unseen_words(self) -> list[str]:
        """Words of the map that no row holds."""
        kind = self.chosen.event_type
        told = [*(word for words in kind.map.values() for word in words), *kind.leave_out]
        return [word for word in told if word.strip().lower() not in self._seen_words]

    def _times(self, table: pa.Table) -> tuple[np.ndarray, Faults]:
        time = self.chosen.time
        if time.rows:
            return FIRST_ROW_MS + 1000 * np.arange(self._taken, self._taken + table.num_rows, dtype=np.int64), {}
        assert time.column is not None
        if time.order:
            given, faults = numbers(table[time.column])
            faults |= dict.fromkeys(map(int, np.flatnonzero(np.isnan(given))), "there is no number")
            return np.rint(np.nan_to_num(given) * 1000).astype(np.int64) + FIRST_ROW_MS, faults
        found, faults = times(table[time.column], time.format)
        ahead = np.flatnonzero(found > self.now_ms + AHEAD_MS)
        return found, faults | dict.fromkeys(
            map(int, ahead), "lies in the future; are day and month in the right places?"
        )

    def _types(self, table: pa.Table) -> tuple[pa.Array, Faults, np.ndarray]:
        """Types, faults, and which rows the map leaves out."""
        kind, n = self.chosen.event_type, table.num_rows
        if kind.column is None:
            return pa.repeat(kind.constant, n), {}, np.zeros(n, bool)
        coded = table[kind.column].combine_chunks()
        coded = (pa.concat_arrays(coded.chunks) if isinstance(coded, pa.ChunkedArray) else coded).dictionary_encode()
        words = ["" if is_absent(word) else str(word).strip() for word in coded.dictionary.to_pylist()]
        self._seen_words.update(word.lower() for word in words)
        names = [self._words.get(word.lower()) for word in words]
        skip = np.array([word.lower() in self._skipped for word in words] or [False])
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        skipped = (codes >= 0) & skip[np.maximum(codes, 0)]
        self.left_out.update(
            {words[code]: int(count) for code, count in enumerate(np.bincount(codes[skipped])) if count}
        )
        found = pa.array(names, pa.string()).take(pa.array(codes, mask=codes < 0))
        faults: Faults = {}
        for place in np.flatnonzero(pc.is_null(found).to_numpy(zero_copy_only=False) & ~skipped):
            word = words[codes[place]] if codes[place] >= 0 else ""
            faults[int(place)] = f"unknown event type {word[:40]!r}" if word else "there is no event type"
        return found, faults, skipped

    def _values(self, table: pa.Table, kinds: pa.Array) -> tuple[np.ndarray, Faults]:
        n, value = table.num_rows, self.chosen.value
        given, faults = (np.full(n, np.nan), {}) if value is None else numbers(table[value.column], value.decimal)
        if value is not None and value.scale is not None:
            low, high = value.scale
            outside = (given < low) | (given > high)
            faults |= dict.fromkeys(map(int, np.flatnonzero(outside)), f"is outside of the scale {low:g} to {high:g}")
            given = _RATING[0] + (given - low) * (_RATING[1] - _RATING[0]) / (high - low)
        given = given.copy()
        coded = kinds.dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        for code, name in enumerate(coded.dictionary.to_pylist()):
            allowed, mine = self.types[name].value, codes == code
            if allowed is None:
                if value is not None:
                    held = ~np.isnan(given) & mine
                    if held.any() or any(mine[place] for place in faults):
                        self.valueless.add(name)
                    faults = {place: why for place, why in faults.items() if not mine[place]}
                given[mine] = np.nan
                continue
            if allowed.required:
                missing = np.flatnonzero(mine & np.isnan(given))
                faults = dict.fromkeys(map(int, missing), f"an event of type {name} needs a value") | faults
            outside = mine & ((given < allowed.min) | (given > allowed.max))
            words = f"an event of type {name} has values from {allowed.min:g} to {allowed.max:g}"
            faults = dict.fromkeys(map(int, np.flatnonzero(outside)), words) | faults
            held = mine & ~np.isnan(given)
            held[[place for place in faults if mine[place]]] = True
            self._values_seen += int(held.sum())
            self._values_refused += sum(bool(mine[place]) for place in faults)
        return given, faults

"""What an import will do, before anything is written: the sources, the map, and the words that show it to people."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.event_types import CONFIGS_DIR, EventTypes, load_event_types
from configs.settings import SettingsError
from data.dataset import DataError
from data.fields.faults import first_fault
from data.mapping.column_map import DataMap, check_map, check_part, read_map, with_small_columns
from data.mapping.guessing.guess_catalogue import guess_items, guess_users
from data.mapping.guessing.guess_events import guess_events
from data.mapping.guessing.guess_preset import guess_preset
from data.mapping.sample import Sample, take_sample
from data.mapping.shown_map import open_questions, shown_part
from data.sources.addresses import digest_of, is_sql, passed_over, shown
from data.sources.open_table import ReadOptions, open_table


@dataclass(frozen=True)
class Sources:
    """What a user gives.

    Attributes:
        events, items, users: addresses of tables; see `data.sources`.
        map: the map file.
        preset: what the events mean; None to guess it.
        name: of the data set; None for the map's, or the name of the file of events.
        given: a map that comes with a built-in data set.
    """

    events: str
    items: str | None = None
    users: str | None = None
    map: Path | None = None
    preset: str | None = None
    name: str | None = None
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def addresses(self) -> list[str]:
        return [address for address in (self.events, self.items, self.users) if address is not None]

    def map_given(self) -> dict[str, Any]:
        """What the user's map says; empty without one. Raises `DataError`."""
        return self.given if self.map is None else read_map(self.map)

    def digest(self) -> str:
        """What changes when an import would give something else. Raises `DataError` where a source is not there."""
        options = f"{self.map_given()} {self.preset} {self.name}"
        return digest_of(self.events, " ".join([options, *map(digest_of, self.addresses[1:])]))

    def dataset_name(self) -> str:
        """The data set's name, known before anything is read. Raises `DataError` for a map that cannot be read."""
        given = self.name or self.map_given().get("name")
        if given:
            return str(given)
        own = self.own_name()
        stem = own if is_sql(self.events) else own.split(".")[0]
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-")[:40].lower() or "data"

    def own_name(self) -> str:
        """What the table of events itself is called: its file, its folder or its table in a database, and nothing of
        the folders around it."""
        address, _, table = self.events.partition("#")
        return table if is_sql(address) and table else shown(address).split("?")[0].rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class ImportPlan:
    """A map that is clear and checked.

    Attributes:
        lines: the map as a table with samples.
        types: the event types, by the preset.
    """

    sources: Sources
    chosen: DataMap
    types: EventTypes
    lines: list[str]


class UnclearMap(DataError):  # noqa: N818 - callers show it as what it is: a question
    """The guess is not clear. The message holds the table, the questions and what to write into the map."""


def make_plan(sources: Sources) -> ImportPlan:
    """Read samples of the sources, guess what the map leaves open, and check the whole.

    Raises:
        UnclearMap: something is open.
        DataError: a source cannot be read, or the map does not fit it.
    """
    given: dict[str, Any] = {
        name: with_small_columns(part) if isinstance(part, dict) else part for name, part in sources.map_given().items()
    }
    where = str(sources.map) if sources.map is not None else "the map"
    for name, part in given.items():
        if isinstance(part, dict):
            check_part(name, part, where)
    preset = sources.preset or given.get("preset")
    types = _types(preset or "shops")
    events = _sample(sources.events, given.get("interactions") or {}, where, "interactions")
    guesses = {"interactions": guess_events(events, given.get("interactions") or {}, types, sources.own_name())}
    samples = {"interactions": events}
    for part, address, guess in (("items", sources.items, guess_items), ("users", sources.users, guess_users)):
        if address is not None:
            samples[part] = _sample(address, given.get(part) or {}, where, part)
            column = guesses["interactions"].fields.get("item_id" if part == "items" else "user_id")
            guesses[part] = guess(samples[part], given.get(part) or {}, column)
        elif given.get(part):
            raise DataError(f"{where}: {part}: there is no table of {part}; give it with {part.upper()}=")
    lines = [line for part, found in guesses.items() for line in [*shown_part(part, samples[part], found), ""]]
    for address in sources.addresses:
        if left := passed_over(address):
            more = f" and {len(left) - 10} more" if len(left) > 10 else ""
            lines.append(f"note: passed over in {shown(address)}: {', '.join(left[:10])}{more}")
    if questions := open_questions(guesses):
        raise UnclearMap("\n".join([*lines, questions]))
    if preset is None:
        preset = guess_preset(events, guesses["interactions"].fields, sources.addresses)
        lines.append(f"preset: {preset} (guessed; PRESET= sets another)")
    else:
        lines.append(f"preset: {preset}")
    chosen = {"name": sources.dataset_name(), "preset": preset} | {part: g.fields for part, g in guesses.items()}
    return ImportPlan(sources, check_map(chosen, where), _types(preset), lines)


def _sample(address: str, given: dict[str, Any], where: str, part: str) -> Sample:
    options = read_options(given.get("read"), where, part)
    sample = take_sample(open_table(address, options))
    if sample.first_refused is None:
        if not sample.table.num_rows:
            raise DataError(
                f"{sample.address}: it has no rows, only the names of columns ({', '.join(sample.columns)})"
            )
        return sample
    row, why = sample.first_refused
    if "values, and the header names" in why and sample.n_refused > sample.table.num_rows:
        why += ": is its first row the header? Take away what stands above the columns' names, as a title or sep=;"
    elif sample.table.num_rows:
        return sample
    raise DataError(f"{sample.address}: it has no rows that can be read: row {row}: {why}")


def read_options(given: Any, where: str, part: str) -> ReadOptions:
    """How a table is read, by `read` of its part of a map. Raises `DataError` that names the field."""
    try:
        return ReadOptions.model_validate(given or {})
    except ValidationError as error:
        field, words = first_fault(error.errors())
        joint = "." if words.startswith(f"{field}:") else ": "
        raise DataError(f"{where}: {part}.read{joint}{words}") from None


def _types(preset: str) -> EventTypes:
    if preset not in (known := sorted(path.stem for path in (CONFIGS_DIR / "presets").glob("*.yaml"))):
        raise DataError(f"preset: there is no preset {str(preset)[:40]!r}; there are {', '.join(known)}")
    try:
        return load_event_types(preset)
    except SettingsError as error:
        raise DataError(str(error)) from error

"""The map file: which columns of a user's tables hold what. Kept beside the data set as it was used."""

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data.dataset import DataError
from data.fields.attributes import MAX_ATTRIBUTES, RESERVED, AttributeType
from data.fields.faults import first_fault
from data.sources.open_table import ReadOptions

MAP_FILE = "map.yaml"
_NAME = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,39}\Z")
NAME_RULE = "a name has at most 40 small letters, digits, _, . and -, a letter or digit first"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _from_text(given: Any, field: str = "column") -> Any:
    return {field: given} if isinstance(given, str) else given


class Time(_Part):
    """When an event happened."""

    column: str | None = None
    format: str | None = Field(None, description="as %d.%m.%Y %H:%M, where the column is not ISO 8601 and no number")
    order: bool = Field(False, description="the numbers of the column say what came first and nothing else")
    rows: bool = Field(False, description="there is no time; the order of the rows stands in for it")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return _from_text(given)

    @model_validator(mode="after")
    def _one(self) -> "Time":
        if (self.column is None) != self.rows:
            raise ValueError("give a column, or rows: true for the order of the rows")
        return self


class Type(_Part):
    """What happened: one type for all rows, or a column whose words are mapped to the types of events.yaml."""

    column: str | None = None
    constant: str | None = None
    map: dict[str, list[str]] = Field(default_factory=dict, description="our type: words of the column")
    leave_out: list[str] = Field(default_factory=list, description="words whose rows are left out")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return _from_text(given)

    @field_validator("map", mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: [str(words)] if not isinstance(words, list) else list(map(str, words))
                for name, words in given.items()}  # fmt: skip

    @model_validator(mode="after")
    def _one(self) -> "Type":
        if (self.column is None) == (self.constant is None):
            raise ValueError("give either a column or a constant")
        owners: dict[str, str] = {}
        told = [*self.map.items(), ("leave_out", self.leave_out)]
        for name, word in ((name, word) for name, words in told for word in words):
            first = owners.setdefault(word.strip().lower(), name)
            if first != name:
                raise ValueError(f"the word {word!r} stands under {first} and under {name}; upper case is no matter")
        return self


class Amount(_Part):
    """The number that goes with an event, such as a rating."""

    column: str
    decimal: Literal[",", "."] | None = Field(None, description="the decimal sign of the column; seen when absent")
    scale: tuple[float, float] | None = Field(None, description="lowest and highest rating, brought to 0.5 to 5")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return _from_text(given)

    @model_validator(mode="after")
    def _rising(self) -> "Amount":
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError("scale: give the lowest and the highest rating, as [1, 10]")
        return self


class Events(_Part):
    """The table of what users did."""

    user_id: str
    item_id: str
    time: Time
    event_type: Type
    value: Amount | None = None
    read: ReadOptions = ReadOptions()

    @model_validator(mode="after")
    def _two(self) -> "Events":
        if self.user_id == self.item_id:
            raise ValueError(f"item_id: column {self.item_id} is the user_id already; name another one")
        return self


class Words(_Part):
    """Categories: from several columns, or from one whose cells hold lists."""

    columns: list[str] = Field(min_length=1)
    separator: str | None = Field(None, description="between several in one cell")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"columns": [given]}
        if isinstance(given, list):
            return {"columns": given}
        if isinstance(given, dict) and "column" in given:
            return {**{name: value for name, value in given.items() if name != "column"}, "columns": [given["column"]]}
        return given


class Attribute(_Part):
    """An attribute: its type, and the column that holds it, which has the attribute's name if it is not given."""

    type: AttributeType
    column: str | None = None
    decimal: Literal[",", "."] | None = Field(None, description="the decimal sign of numbers; seen when absent")
    separator: str | None = Field(None, description="between several keywords, or numbers of a vector, in one cell")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return _from_text(given, "type")


class _Described(_Part):
    attributes: dict[str, Attribute] = Field(default_factory=dict)
    read: ReadOptions = ReadOptions()

    @field_validator("attributes")
    @classmethod
    def _named(cls, given: dict[str, Attribute]) -> dict[str, Attribute]:
        if len(given) > MAX_ATTRIBUTES:
            raise ValueError(f"at most {MAX_ATTRIBUTES} attributes, not {len(given)}")
        for name in given:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                raise ValueError(f"{name}: an attribute's name has 1 to 40 small letters, digits and _, a letter first")
            if name in RESERVED:
                raise ValueError(f"{name}: is a field of its own and cannot be an attribute; give it another name")
        return given

    def described(self) -> set[str]:
        """The columns of the attributes."""
        return {attribute.column or name for name, attribute in self.attributes.items()}


class Items(_Described):
    """The table of items."""

    item_id: str
    title: list[str] = Field(default_factory=list, description="columns whose texts together are the title")
    categories: Words | None = None
    year: str | None = None
    added: Time | None = None

    @field_validator("title", mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    def columns(self) -> set[str]:
        """The columns that are needed."""
        year = {self.year} if self.year is not None else set()
        words = self.categories.columns if self.categories is not None else []
        return {self.item_id, *self.title, *words, *year, *self.described()}


class Users(_Described):
    """The table of users."""

    user_id: str

    def columns(self) -> set[str]:
        """The columns that are needed."""
        return {self.user_id, *self.described()}


class DataMap(_Part):
    """What a map file says of all tables."""

    name: str | None = Field(None, description="of the data set")
    preset: str | None = Field(None, description="what its events mean: a file of configs/presets")
    interactions: Events
    items: Items | None = None
    users: Users | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, given: str | None) -> str | None:
        if given is not None and not _NAME.match(given):
            raise ValueError(f"{given[:40]!r}: {NAME_RULE}")
        return given

    def text(self) -> str:
        """The map as YAML, in its shortest form."""
        found = _short(self.model_dump(mode="json", exclude_defaults=True))
        for part in ("items", "users"):
            if part in found:  # what they share comes last
                found[part] = dict(sorted(found[part].items(), key=lambda entry: entry[0] in ("attributes", "read")))
        return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110)


def in_small_letters(given: Any) -> Any:
    """A part of a map with its columns in small letters, as every source names them."""
    if isinstance(given, str):
        return given.strip().lower()
    if isinstance(given, list):
        return [in_small_letters(one) for one in given]
    if isinstance(given, dict):
        return {
            name: in_small_letters(value) if name in ("column", "columns") else value for name, value in given.items()
        }
    return given


def with_small_columns(part: dict[str, Any]) -> dict[str, Any]:
    """The part `interactions`, `items` or `users` of a map as `in_small_letters` says, without its empty fields."""
    part = {name: value for name, value in part.items() if value is not None or name in ("value", "attributes")}
    found = {name: value if name in ("read", "attributes") else in_small_letters(value) for name, value in part.items()}
    told = part.get("attributes")
    if isinstance(told, dict):
        found["attributes"] = {
            name: in_small_letters(value) if isinstance(value, dict) else value for name, value in told.items()
        }
    return found


_PARTS: dict[str, type[BaseModel]] = {"interactions": Events, "items": Items, "users": Users}
# Stand for what a map leaves to the guess; no column has a control character in its name.
_STAND_INS = {"user_id": "\0user", "item_id": "\0item", "time": {"rows": True}, "event_type": {"constant": "view"}}


class _OnceLoader(yaml.SafeLoader):
    """YAML of which no key may come twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            line = next(key for key, _ in reversed(node.value) if key.value == twice[0]).start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: {twice[0]} comes twice; put both into one")
        return super().construct_mapping(node, deep)


def read_map(path: Path) -> dict[str, Any]:
    """What a map file gives, which may be a part of a map; `check_map` checks the whole. Raises `DataError`."""
    try:
        given = yaml.load(path.read_text(encoding="utf-8"), _OnceLoader)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the map cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: it is not valid YAML: {error}") from error
    if not isinstance(given, dict):
        raise DataError(f"{path}: a map has the parts interactions, items and users")
    for name in ("name", "preset"):
        if given.get(name) is not None and not _NAME.match(str(given[name])):
            raise DataError(f"{path}: {name}: {str(given[name])[:40]!r}: {NAME_RULE}")
    for name, part in given.items():
        if name not in DataMap.model_fields:
            raise DataError(f"{path}: {name}: is no part of a map; there are {', '.join(DataMap.model_fields)}")
        if name in _PARTS and not isinstance(part, dict):
            raise DataError(f"{path}: {name}: give the fields and the columns that hold them")
        known = _PARTS[name].model_fields if name in _PARTS else None
        if known is not None and (unknown := [field for field in part if field not in known]):
            raise DataError(f"{path}: unknown field '{name}.{unknown[0]}'; there are {', '.join(known)}")
    return given


def check_map(given: dict[str, Any], where: str) -> DataMap:
    """The map. Raises `DataError` that names the field."""
    try:
        return DataMap.model_validate(given)
    except ValidationError as error:
        raise DataError(f"{where}: {_words(error)}") from None


def check_table_map(name: Literal["items", "users"], given: dict[str, Any], where: str) -> Items | Users:
    """One part of a map by itself. Raises `DataError` that names the field."""
    try:
        return Items.model_validate(given) if name == "items" else Users.model_validate(given)
    except ValidationError as error:
        raise DataError(f"{where}: {_words(error, name)}") from None


def check_part(name: str, given: dict[str, Any], where: str) -> None:
    """Whether what a map gives of one part can stand in it, whatever else is guessed.

    Raises:
        DataError: names the field.
    """
    stand_ins = {field: value for field, value in _STAND_INS.items() if field in _PARTS[name].model_fields}
    told = {field: value for field, value in given.items() if value is not None}
    try:
        _PARTS[name].model_validate(stand_ins | told)
    except ValidationError as error:
        raise DataError(f"{where}: {_words(error, name)}") from None


def _words(error: ValidationError, part: str | None = None) -> str:
    field, words = first_fault(error.errors())
    words = words.removeprefix(f"{field}: ").removeprefix(f"{field} ").removeprefix("the body: ")
    words = re.sub(r"a valid dictionary.*", "fields with values, as {column: name}", words)
    place = ".".join(name for name in (part, field) if name)
    return f"{place}: {words}"


def _short(value: Any) -> Any:
    """{"column": "x"} is written as x, and {"columns": ["x"]} too."""
    if isinstance(value, dict):
        if set(value) == {"column"} or set(value) == {"type"}:
            return next(iter(value.values()))
        if set(value) == {"columns"}:
            value = value["columns"]
            return value[0] if len(value) == 1 else value
        return {name: _short(part) for name, part in value.items()}
    return value

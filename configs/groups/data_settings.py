"""Settings of the data set."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from configs.groups.group import Group

AttributeType = Literal["number", "text", "keyword", "keywords", "flag", "time", "vector"]


class Data(Group):
    """The data set, and what its events mean."""

    source: str | None = Field(
        None,
        description="a table of events: a file, a folder, an address of an object store or a database; or MovieLens",
    )
    items: str | None = Field(None, description="a table of items, beside a source of your own")
    users: str | None = Field(None, description="a table of users, beside a source of your own")
    map: Path | None = Field(None, description="which columns of these tables hold what; see docs/own-data.md")
    dataset: Literal["movielens-100k", "complete-journey", "none"] | None = Field(
        None, description="a built-in data set; None keeps what is there, and takes movielens-100k where nothing is"
    )
    events: str = Field(
        "movies", description="preset of event meanings, a file of configs/presets; the data set's where it is not set"
    )
    item_attributes: dict[str, AttributeType] = Field({}, description="attributes of items beside the data set's")
    user_attributes: dict[str, AttributeType] = Field({}, description="attributes of users beside the data set's")
    open_catalogue: bool = Field(True, description="accept events on items that the catalogue does not list")

    @field_validator("source", "items", "users", mode="before")
    @classmethod
    def _text(cls, given: object) -> object:
        return str(given) if isinstance(given, Path) else given

    @model_validator(mode="after")
    def _one_source(self) -> "Data":
        if self.source is not None and self.dataset is not None:
            raise ValueError("give either DATA, a source of your own, or DATASET, a built-in one")
        if self.source is None and (beside := [n for n in ("items", "users", "map") if getattr(self, n) is not None]):
            raise ValueError(f"{beside[0].upper()} goes with DATA, the table of events")
        return self

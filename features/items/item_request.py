"""An item or a user as a client or a file describes it, and the way to what is kept: one validation for both."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from data.fields.attributes import Schema, Value, check_attributes
from data.fields.faults import first_fault
from data.fields.ids import check_label
from features.items.catalogue import MAX_CATEGORY_BYTES, Item
from features.recording.event_request import Id

MAX_CATEGORIES = 20


class DescriptionError(ValueError):
    """What was given describes no item or user. `field` names what is wrong, and the message says why."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


def _check_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("give an object")
    return value


Attributes = Annotated[dict[str, Any], PlainValidator(_check_object), WithJsonSchema({"type": "object"})]


class ItemRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: StrictStr = Field(min_length=1, max_length=500)
    categories: list[StrictStr] | None = Field(None, max_length=MAX_CATEGORIES)
    genres: list[StrictStr] | None = Field(
        None, max_length=MAX_CATEGORIES, description="an older name of `categories`; give one of them"
    )
    year: StrictInt | None = Field(None, ge=-5000, le=5000)
    hidden: StrictBool = Field(False, description="keep it, but recommend it to nobody for now")
    attributes: Attributes = Field(
        default_factory=dict, description="values by name, of the types that GET /api/v1/catalogue shows"
    )

    @model_validator(mode="after")
    def _one_list_of_categories(self) -> "ItemRequest":
        if self.categories is not None and self.genres is not None and self.categories != self.genres:
            raise ValueError("genres: differs from categories, of which it is an older name; give categories alone")
        return self


class ItemEntry(ItemRequest):
    """An item in a batch or a file."""

    item_id: Id = Field(examples=[242])


class ItemBatchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[ItemEntry] = Field(min_length=1, max_length=1000)


class UserRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    attributes: Attributes = Field(description="values by name, instead of all that the user had")


class UserEntry(UserRequest):
    """A user in a file."""

    user_id: Id = Field(examples=[196])


def checked_entry(values: Any, schema: Schema, now_ms: int) -> Item:
    """The item that a row of a batch or a file describes. Raises `DescriptionError`."""
    try:
        entry = ItemEntry.model_validate(values)
    except ValidationError as error:
        raise DescriptionError(*first_fault(error.errors(include_url=False, include_context=False))) from None
    return checked_item(str(entry.item_id), entry, schema, now_ms)


def checked_item(item_id: str, request: ItemRequest, schema: Schema, now_ms: int) -> Item:
    """The item that a request describes, after the checks that its model cannot make.

    Args:
        schema: the attributes that items may carry.

    Raises:
        DescriptionError: a text, a category or an attribute is not fit to be kept.
    """
    field = "categories" if request.genres is None else "genres"
    categories = request.categories if request.genres is None else request.genres
    _check_label("title", request.title)
    for category in categories or ():
        _check_label(field, category)
        if not 0 < len(category.encode()) <= MAX_CATEGORY_BYTES:
            raise DescriptionError(field, f"{field}: {category!r} must hold 1 to {MAX_CATEGORY_BYTES} bytes")
    return Item(
        item_id=item_id,
        title=request.title,
        year=request.year,
        categories=tuple(dict.fromkeys(categories or ())),
        hidden=request.hidden,
        created_ms=now_ms,
        updated_ms=now_ms,
        attributes=checked_attributes(request.attributes, schema),
    )


def checked_user(values: Any, schema: Schema) -> tuple[str, dict[str, Value]]:
    """Id and attributes of the user that a row of a file describes. Raises `DescriptionError`."""
    try:
        entry = UserEntry.model_validate(values)
    except ValidationError as error:
        raise DescriptionError(*first_fault(error.errors(include_url=False, include_context=False))) from None
    return str(entry.user_id), checked_attributes(entry.attributes, schema)


def checked_attributes(given: dict[str, Any], schema: Schema) -> dict[str, Value]:
    """Attributes as they are kept. Raises `DescriptionError`, whose field is `attributes.<name>`."""
    kept: dict[str, Value] = {}
    for name, value in given.items():
        try:
            kept |= check_attributes({name: value}, schema)
        except ValueError as error:
            field = f"attributes.{name}" if len(name) <= 100 and name.isprintable() else "attributes"
            raise DescriptionError(field, f"attributes.{error}") from None
    return kept


def _check_label(field: str, text: str) -> None:
    try:
        check_label(text)
    except ValueError as error:
        raise DescriptionError(field, f"{field}: {error}") from None

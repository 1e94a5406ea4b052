"""Which attributes items and users may carry: names with types, kept in the store beside the catalogue.

The data set and the settings declare them. A name keeps its type for good, since items and users carry values of it.
"""

from collections.abc import Mapping

from data.dataset import DataError
from data.fields.attributes import TYPES, AttributeType, check_schema
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script

_DECLARE = Script("items/declare_attributes")
_OF = ("item", "user")


async def declare_attributes(
    client: StoreClient,
    keys: Keys,
    items: Mapping[str, AttributeType],
    users: Mapping[str, AttributeType],
    source: str,
) -> None:
    """Add attributes to the schemas; replicas follow as they follow the catalogue. Safe to repeat.

    Args:
        items, users: attribute name -> type.
        source: who declares them, for the error.

    Raises:
        DataError: the store holds one of them with another type, a name or type is none, or they would be too many.
            Nothing was written.
        StoreError: the store does not answer.
    """
    declared = {
        f"{of}:{name}": kind for of, schema in zip(_OF, (items, users), strict=True) for name, kind in schema.items()
    }
    if not declared:
        return
    known = await read_schemas(client, keys)
    for of, schema, stored in zip(_OF, (items, users), known, strict=True):
        try:
            check_schema({**schema, **stored})
            check_schema(schema)
        except ValueError as error:
            raise DataError(f"{of}_attributes of {source}: {error}") from None
    args = [part for pair in declared.items() for part in pair]
    refused = await run_script(client, _DECLARE, [keys.attribute_schema, keys.versions, keys.catalogue_changes], args)
    if refused:
        of, _, name = refused[0].decode().partition(":")
        raise DataError(
            f"{of}_attributes of {source}: {name} is a {declared[f'{of}:{name}']}, and the store holds it as "
            f"{refused[1].decode()}: declare it as that, give it another name, or start with an empty state folder"
        )


async def read_schemas(client: StoreClient, keys: Keys) -> tuple[dict[str, AttributeType], dict[str, AttributeType]]:
    """The schemas of items and of users, by name. Raises `StoreError`."""
    found: dict[bytes, bytes] = await client.run("HGETALL", keys.attribute_schema)
    schemas: dict[str, dict[str, AttributeType]] = {of: {} for of in _OF}
    for field, kind in sorted(found.items()):
        of, _, name = field.decode().partition(":")
        if of in schemas and kind.decode() in TYPES:  # a later version of this program may have written more
            schemas[of][name] = kind.decode()  # type: ignore[assignment]
    return schemas["item"], schemas["user"]

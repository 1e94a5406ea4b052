"""The catalogue: what can be recommended, in the store and as a view in every replica's memory."""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from configs.groups.data_settings import AttributeType
from data.fields.attributes import Schema, Value
from features.items.attribute_schema import read_schemas
from features.items.packed_attributes import NO_ATTRIBUTES, PackedAttributes
from features.redis.connection import StoreClient
from features.redis.errors import StoreBusy
from features.redis.keys import Keys
from features.redis.scripts import Script, run_script
from features.redis.stored import known_fields

CHANGES_KEPT = 10_000
MAX_CATEGORY_BYTES = 60
"""A longer field name would push a user's hash out of its compact encoding."""
_CHANGE = Script("items/change_catalogue", CHANGES_KEPT=CHANGES_KEPT)
_CHUNK = 1000
_TRIES = 20
_ATTRIBUTES = b',"attributes":{'


@dataclass(frozen=True, slots=True)
class Item:
    """One item as the catalogue lists it; times are ms since the epoch."""

    item_id: str
    title: str
    year: int | None = None
    categories: tuple[str, ...] = ()
    hidden: bool = False
    """Not to be recommended for now."""
    deleted: bool = False
    """Never to be recommended again, though models may still know it."""
    created_ms: int = 0
    updated_ms: int = 0
    attributes: Mapping[str, Value] = NO_ATTRIBUTES

    @property
    def recommendable(self) -> bool:
        return not (self.hidden or self.deleted)


_FIELDS = frozenset(field.name for field in fields(Item))


def pack_item(item: Item) -> bytes:
    """JSON of an item without `created_ms`, which the script writes in front of it."""
    content: dict[str, Any] = {
        "item_id": item.item_id,
        "title": item.title,
        "year": item.year,
        "categories": item.categories,
        "hidden": item.hidden,
        "deleted": item.deleted,
        "updated_ms": item.updated_ms,
    }
    if item.attributes:
        content["attributes"] = dict(item.attributes)
    return orjson.dumps(content)


def unpack_item(
    raw: bytes,
    keep: Collection[str] | None = None,
    shared: dict[tuple[str, ...], tuple[str, ...]] | None = None,
    text_chars: int | None = None,
) -> Item:
    """The item in the JSON of the store, as this or an earlier version wrote it.

    Args:
        keep: the attributes that are wanted; None for all.
        shared: lets items of the same categories share one tuple of them.
        text_chars: longer texts are cut to so many characters; None for whole ones.
    """
    if keep is not None and not keep and raw.endswith(b"}}") and (at := raw.find(_ATTRIBUTES)) >= 0:
        raw = raw[:at] + b"}"  # attributes stand last; parsing those that nobody wants takes as long as all the rest
    content = known_fields("Item", _FIELDS, orjson.loads(raw))
    attributes = content.pop("attributes", None)
    categories = tuple(content.pop("categories"))
    if shared is not None:
        categories = shared.setdefault(categories, categories)
    if attributes and keep is not None:
        attributes = {name: value for name, value in attributes.items() if name in keep}
    if attributes and text_chars is not None:
        attributes = {
            name: value[:text_chars] if isinstance(value, str) else value for name, value in attributes.items()
        }
    packed = PackedAttributes(attributes) if attributes else NO_ATTRIBUTES
    return Item(**content, categories=categories, attributes=packed)


async def put_items(client: StoreClient, keys: Keys, items: Sequence[Item], only_new: bool = False) -> int:
    """Write items; each becomes visible in every replica with its next poll.

    An item that exists keeps its `created_ms`; a deleted one comes back by being put again.

    Args:
        only_new: leave alone what the catalogue lists already (a data set being seeded again).

    Returns:
        The catalogue version that holds them.

    Raises:
        ValueError: a category is empty or too long.
        StoreUnavailable, StoreFull: some may be written, those of earlier chunks.
    """
    for item in items:
        for category in item.categories:
            if not 0 < len(category.encode()) <= MAX_CATEGORY_BYTES:
                raise ValueError(f"categories: {category!r} must hold 1 to {MAX_CATEGORY_BYTES} bytes")
    version = 0
    for start in range(0, len(items), _CHUNK):
        args: list[Any] = ["new" if only_new else "put"]
        for item in items[start : start + _CHUNK]:
            args += [item.item_id, item.created_ms, pack_item(item)]
        version = int(await run_script(client, _CHANGE, [keys.catalogue, keys.versions, keys.catalogue_changes], args))
    return version


async def delete_item(client: StoreClient, keys: Keys, item_id: str, now_ms: int) -> bool:
    """Mark an item as deleted, as it is at that moment; False when the catalogue does not list it.

    Raises:
        StoreBusy: others keep changing the item.
    """
    script_keys = [keys.catalogue, keys.versions, keys.catalogue_changes]
    for _ in range(_TRIES):
        raw = await client.run("HGET", keys.catalogue, item_id)
        item = None if raw is None else unpack_item(raw)
        if item is None or item.deleted:
            return False
        deleted = pack_item(replace(item, deleted=True, updated_ms=now_ms))
        # An item that was put meanwhile must not come back as it was before.
        if int(await run_script(client, _CHANGE, script_keys, ["swap", item_id, item.created_ms, deleted, raw])) >= 0:
            return True
    raise StoreBusy(f"others keep changing item {item_id!r}; try again")


async def read_item(client: StoreClient, keys: Keys, item_id: str) -> Item | None:
    """The item as it is in the store now; a deleted one has `deleted` set."""
    raw = await client.run("HGET", keys.catalogue, item_id)
    return None if raw is None else unpack_item(raw)


async def read_items(client: StoreClient, keys: Keys, item_ids: Sequence[str]) -> list[Item]:
    """Those of these items that the catalogue lists, as they are in the store now; deleted ones have `deleted` set."""
    found: list[Item] = []
    for start in range(0, len(item_ids), _CHUNK):
        raws = await client.run("HMGET", keys.catalogue, *item_ids[start : start + _CHUNK])
        found += [unpack_item(raw) for raw in raws if raw is not None]
    return found


async def read_raw_items(client: StoreClient, keys: Keys) -> AsyncIterator[dict[bytes, bytes]]:
    """All items, part by part, id -> JSON; one may come twice. The store answers others in between."""
    cursor = b"0"
    while True:
        cursor, found = await client.run("HSCAN", keys.catalogue, cursor, "COUNT", _CHUNK)
        yield found
        if int(cursor) == 0:
            return


class Catalogue:
    """A view of the catalogue in memory.

    Args:
        types: the types of the attributes that its items shall carry; None for all. Whoever needs none says so: ten
            attributes double the memory of an item.
        text_chars: of a text so many characters are kept; None for all.

    Attributes:
        items: item id -> `Item`, also hidden and deleted ones. Changed in place by `refresh`.
        categories: category -> how many items of it may be recommended; above 0.
        totals: how many items are `recommendable`, `hidden` and `deleted`.
        item_schema, user_schema: the attributes that items and users may carry.
        version: the version of the catalogue that `items` shows; 0 before the first `refresh`.
    """

    def __init__(
        self,
        client: StoreClient,
        keys: Keys,
        types: Container[AttributeType] | None = None,
        text_chars: int | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._types = types
        self._text_chars = text_chars
        self._keep: list[str] | None = None if types is None else []
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.items: dict[str, Item] = {}
        self.categories: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.item_schema: Schema = {}
        self.user_schema: Schema = {}
        self.version = 0
        self._loaded = False

    async def load(self) -> list[Item]:
        """Read everything. Returns all items.

        The version is read before the items, and changes that come in between are applied again by the next
        `refresh`: the view is never older than its version says.
        """
        version = await _version(self._client, self._keys)
        await self._read_schemas()
        items: dict[str, Item] = {}
        with _uncollected():
            async for found in read_raw_items(self._client, self._keys):
                for raw in found.values():
                    item = self._unpack(raw)
                    items[item.item_id] = item
        self.items, self.version, self._loaded = items, version, True
        self.categories = Counter(name for item in items.values() if item.recommendable for name in item.categories)
        self.totals = Counter(_state(item) for item in items.values())
        return list(items.values())

    async def refresh(self) -> list[Item]:
        """Take over what changed since `version`: everything the first time, or when too much has happened since.

        Returns:
            The items that are new or changed, as they are now.
        """
        if not self._loaded:
            return await self.load()
        version = await _version(self._client, self._keys)
        if version == self.version:
            return []
        if version < self.version:  # the store was restored or emptied meanwhile
            return await self.load()
        # An entry's id is the version that it made, so a gap shows that the stream no longer reaches back far enough
        entries = await self._client.run(
            "XRANGE", self._keys.catalogue_changes, f"{self.version + 1}-0", f"{version}-0"
        )
        if len(entries) != version - self.version:
            return await self.load()
        await self._read_schemas()
        ids = list(dict.fromkeys(item_id for _, entry in entries for item_id in orjson.loads(entry[b"ids"])))
        changed: list[Item] = []
        for start in range(0, len(ids), _CHUNK):
            raws = await self._client.run("HMGET", self._keys.catalogue, *ids[start : start + _CHUNK])
            changed += [self._unpack(raw) for raw in raws if raw is not None]
        for item in changed:
            self._count(self.items.get(item.item_id), -1)
            self._count(item, 1)
            self.items[item.item_id] = item
        self.version = version
        return changed

    def _unpack(self, raw: bytes) -> Item:
        return unpack_item(raw, self._keep, self._shared, self._text_chars)

    async def _read_schemas(self) -> None:
        self.item_schema, self.user_schema = await read_schemas(self._client, self._keys)
        if self._types is not None:
            self._keep = [name for name, kind in self.item_schema.items() if kind in self._types]

    def _count(self, item: Item | None, one: int) -> None:
        if item is not None:
            self.totals[_state(item)] += one
        for name in item.categories if item is not None and item.recommendable else ():
            self.categories[name] += one
            if not self.categories[name]:
                del self.categories[name]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look through all that has been read again and again, in a third of the
    time of reading, and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _state(item: Item) -> str:
    return "deleted" if item.deleted else "hidden" if item.hidden else "recommendable"


async def _version(client: StoreClient, keys: Keys) -> int:
    return int(await client.run("HGET", keys.versions, "catalogue") or 0)

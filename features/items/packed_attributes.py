"""Attributes as they lie in memory: JSON that is parsed when somebody looks at it."""

from collections.abc import ItemsView, Iterator, Mapping

import orjson

from data.fields.attributes import Value


class PackedAttributes(Mapping[str, Value]):
    """Attribute name -> value. Of a million items with ten attributes, parsed ones would fill gigabytes.

    Args:
        values: checked attributes.

    Attributes:
        packed: their JSON, with names in order.
    """

    __slots__ = ("packed",)

    def __init__(self, values: Mapping[str, Value]) -> None:
        # Copied: orjson writes into a larger block, whose rest is lost between those of others (4 KB an item, measured)
        self.packed = bytes(memoryview(orjson.dumps(dict(values), option=orjson.OPT_SORT_KEYS)))

    def parsed(self) -> dict[str, Value]:
        """All of them, for whoever looks at several."""
        found: dict[str, Value] = orjson.loads(self.packed)
        return found

    def __getitem__(self, name: str) -> Value:
        return self.parsed()[name]

    def items(self) -> ItemsView[str, Value]:
        """As of any mapping, with one parse for all."""
        return self.parsed().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self.parsed())

    def __len__(self) -> int:
        return len(self.parsed())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self.parsed() == dict(other)

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return repr(self.parsed())


NO_ATTRIBUTES = PackedAttributes({})

"""Finding items of the catalogue: by the words of their titles, by category, by attributes; page by page.

A million items are walked in some tenths of a second, in chunks of ids that are kept in order: the titles of a chunk
are one text, in which a word that no title has is not found at once, and so is an attribute in its packed form.
"""

import heapq
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

from data.fields.attributes import AttributeType, Value
from features.items.catalogue import Item
from features.items.packed_attributes import PackedAttributes

CHUNK = 1000
_WORD = re.compile(r"\w+")
ID, TITLE, BEGINNING, WORDS = range(4)
"""How an item matches, best first: by its id, its whole title, the beginning of its title, its words."""
Place = tuple[int, float, str]
"""Where an item stands in a list: match, popularity (negative), id."""
Shown = Literal["all", "recommendable", "hidden"]


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """An item passes that has the attribute; of texts the words, of lists of keywords the keyword, else the value."""

    name: str
    kind: AttributeType
    value: Value
    needle: bytes = field(init=False)
    """What the packed attributes of every item that passes hold: quicker to look for than to parse them."""

    def __post_init__(self) -> None:
        name = orjson.dumps(self.name) + b":"
        needle = name + orjson.dumps(self.value) if self.kind == "keyword" else name
        object.__setattr__(self, "needle", needle)

    def passes(self, item: Item) -> bool:
        attributes = item.attributes
        if isinstance(attributes, PackedAttributes) and self.needle not in attributes.packed:
            return False
        found = attributes.get(self.name)
        if found is None:
            return False
        if self.kind == "text":
            return _holds(fold(str(found)), fold(str(self.value)).split())
        return self.value in found if isinstance(found, list) else self.value == found


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    Attributes:
        query: words that titles hold, each from its start; none for all items.
        shown: hidden items too, or only, or not. Deleted ones are never found.
    """

    query: str = ""
    category: str | None = None
    filters: tuple[SearchFilter, ...] = ()
    shown: Shown = "all"

    def passes(self, item: Item) -> bool:
        if item.deleted:
            return False
        if self.shown != "all" and item.hidden != (self.shown == "hidden"):
            return False
        if self.category is not None and self.category not in item.categories:
            return False
        for one in self.filters:  # noqa: SIM110 - `all` with its generator would take half of a search's time
            if not one.passes(item):
                return False
        return True


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page: the items with their places, and how many items there are on all pages."""

    items: list[tuple[Place, Item]]
    total: int
    more: bool


class _Chunk:
    """Ids in order, and the folded titles of their items, a line each."""

    __slots__ = ("ids", "text")

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self.text: str | None = None

    def lines(self, items: Mapping[str, Item]) -> str:
        if self.text is None:
            self.text = "\n".join(" " + fold(items[item_id].title) for item_id in self.ids)
        return self.text


class SearchIndex:
    """The order in which items are found. Searches may run in a thread while `take` follows changes."""

    def __init__(self) -> None:
        self._items: Mapping[str, Item] = {}
        self._chunks: list[_Chunk] = []

    def _rebuild(self, items: Mapping[str, Item]) -> None:
        self._items = items
        ids = sorted(item.item_id for item in items.values() if not item.deleted)
        self._chunks = [_Chunk(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]

    def take(self, items: Mapping[str, Item], changed: Sequence[Item]) -> None:
        """Take over items as they are now.

        Args:
            items: the catalogue's view; another one than before is read whole.
            changed: those of them that were put or deleted.
        """
        if items is not self._items or len(changed) > max(CHUNK, len(items) // 10):
            self._rebuild(items)
            return
        # Chunks are replaced, never changed: a search may be reading them
        for item in changed:
            if not self._chunks:
                self._chunks = [_Chunk([])]
            place = max(
                0, bisect_right(self._chunks, item.item_id, key=lambda chunk: chunk.ids[0] if chunk.ids else "") - 1
            )
            ids = self._chunks[place].ids.copy()
            at = bisect_left(ids, item.item_id)
            listed = at < len(ids) and ids[at] == item.item_id
            if item.deleted and listed:
                del ids[at]
            elif not item.deleted and not listed:
                ids.insert(at, item.item_id)
            halves = [ids] if len(ids) <= 2 * CHUNK else [ids[:CHUNK], ids[CHUNK:]]
            self._chunks[place : place + 1] = [_Chunk(half) for half in halves if half]

    def find(self, question: Search, limit: int, after: Place | None, popularity: Mapping[str, float]) -> SearchPage:
        """A page of what is looked for, ranked by how titles match and by popularity; without a query by id.

        Args:
            after: the place of the last item of the page before.
            popularity: item id -> weight, of the items that have any.
        """
        if question.query.strip():
            found = list(self._matching(question, popularity))
            page = heapq.nsmallest(limit + 1, (one for one in found if after is None or one[0] > after), _place)
            return SearchPage(page[:limit], len(found), len(page) > limit)
        rows: list[tuple[Place, Item]] = []
        total = 0
        begin = "" if after is None else after[2]
        for chunk in self._chunks.copy():
            every = question == Search()
            if every and (len(rows) > limit or (after is not None and chunk.ids[-1] <= begin)):
                total += len(chunk.ids)
                continue
            for item_id in chunk.ids:
                item = self._items.get(item_id)
                if item is None or not question.passes(item):
                    continue
                total += 1
                if len(rows) <= limit and (after is None or item_id > begin):
                    rows.append(((0, 0.0, item_id), item))
        return SearchPage(rows[:limit], total, len(rows) > limit)

    def _matching(self, question: Search, popularity: Mapping[str, float]) -> Iterator[tuple[Place, Item]]:
        words = fold(question.query)
        parts = words.split()
        by_id = self._items.get(question.query.strip())
        if by_id is not None and not by_id.deleted and question.passes(by_id):
            yield (ID, -popularity.get(by_id.item_id, 0.0), by_id.item_id), by_id
        for chunk in self._chunks.copy() if parts else ():
            text = chunk.lines(self._items)
            if not _holds(text, parts):
                continue
            for item_id, line in zip(chunk.ids, text.split("\n"), strict=True):
                if not _holds(line, parts):
                    continue
                item = self._items.get(item_id)
                if item is None or item is by_id or not question.passes(item):
                    continue
                match = TITLE if line == f" {words}" else BEGINNING if line.startswith(f" {words}") else WORDS
                yield (match, -popularity.get(item_id, 0.0), item_id), item


def fold(text: str) -> str:
    """The words of a text in small letters without accents, one space between them."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(letter for letter in parts if not unicodedata.combining(letter))
    return " ".join(_WORD.findall(text.lower()))


def _holds(line: str, words: Sequence[str]) -> bool:
    """Whether every word begins a word of the line, which has a space or the line's beginning in front of each."""
    return all(f" {word}" in line or line.startswith(word) for word in words)


def _first(chunk: _Chunk) -> str:
    return chunk.ids[0] if chunk.ids else ""


def _place(found: tuple[Place, Item]) -> Place:
    return found[0]

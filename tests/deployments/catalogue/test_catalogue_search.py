from itertools import count

import pytest

from data.fields.attributes import AttributeType, Value
from deployments.catalogue.search import CHUNK, Search, SearchFilter, SearchIndex, SearchPage, fold
from features.items.catalogue import Item
from features.items.packed_attributes import PackedAttributes

ITEMS = {
    item.item_id: item
    for item in (
        Item("1", "The Empire Strikes Back", categories=("War", "Action")),
        Item("2", "Star Wars", categories=("War",)),
        Item("3", "Empire Records"),
        Item("4", "Empire of the Hidden", hidden=True, categories=("War",)),
        Item("5", "Deleted Empire", deleted=True),
        Item("6", "Amélie: Le Fabuleux Destin"),
        Item("7", "Empire"),
    )
}


def index_of(items: dict[str, Item]) -> SearchIndex:
    index = SearchIndex()
    index.take(items, list(items.values()))
    return index


def ids(found: SearchPage) -> list[str]:
    return [item.item_id for _, item in found.items]


def search(query: str, popularity: dict[str, float] | None = None, **question: str) -> list[str]:
    return ids(index_of(ITEMS).find(Search(query, **question), 10, None, popularity or {}))  # type: ignore[arg-type]


def test_a_whole_title_comes_before_its_beginning_and_that_before_words_further_on() -> None:
    assert search("empire", shown="recommendable") == ["7", "3", "1"]
    assert search("EMPIRE", shown="hidden") == ["4"]


def test_among_equal_matches_the_popular_come_first() -> None:
    assert search("empire", {"4": 1.0, "1": 9.0}) == ["7", "4", "3", "1"]


def test_every_word_begins_a_word_of_the_title_in_any_order() -> None:
    assert search("ba emp") == ["1"]
    assert search("empire wars") == []
    assert search("ars") == []
    assert search("?!") == []


def test_accents_and_punctuation_are_passed_over() -> None:
    assert search("amelie le") == ["6"]
    assert search("AMÉLIE,") == ["6"]
    assert fold("Ærøskøbing – “Straße” №5") == "ærøskøbing strasse no5"


def test_an_id_is_found_first() -> None:
    assert search(" 2 ") == ["2"]
    assert search("5") == []


def test_a_category_narrows_a_search_and_a_list() -> None:
    assert search("empire", category="War") == ["4", "1"]
    assert search("", category="War") == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("name", "kind", "value", "expected"),
    [
        ("brand", "keyword", "x", ["a"]),
        ("colours", "keywords", "red", ["a", "b"]),
        ("price", "number", 12.0, ["a"]),
        ("new", "flag", False, ["b"]),
        ("added", "time", 1_700_000_000_000, ["b"]),
        ("text", "text", "GOOD brand", ["b"]),
        ("text", "text", "rand", []),
    ],
)
def test_attributes_filter_by_their_type(name: str, kind: AttributeType, value: Value, expected: list[str]) -> None:
    described: dict[str, dict[str, Value]] = {
        "a": {"brand": "x", "colours": ["red", "blue"], "price": 12, "new": True, "text": 'a "brand":"x" thing'},
        "b": {"brand": "xy", "colours": ["red"], "price": 1.5, "new": False, "added": 1_700_000_000_000,
              "text": 'A good one, "brand":"x", they say'},
        "c": {},
    }  # fmt: skip
    items = {item_id: Item(item_id, "t", attributes=PackedAttributes(given)) for item_id, given in described.items()}
    assert ids(index_of(items).find(Search(filters=(SearchFilter(name, kind, value),)), 10, None, {})) == expected


@pytest.mark.parametrize("query", ["", "title"])
def test_pages_hold_every_item_once_while_others_come_and_go(query: str) -> None:
    items = {item.item_id: item for item in (Item(f"{n:05}", f"Title {n}") for n in range(3 * CHUNK))}
    index, question = index_of(items), Search(query)
    popularity = {f"{n:05}": float(n % 7) for n in range(0, 3 * CHUNK, 3)}
    seen: list[str] = []
    after = None
    for page in count():
        found = index.find(question, 700, after, popularity)
        assert found.total == len([item for item in items.values() if not item.deleted])
        seen += ids(found)
        if not found.more:
            break
        after = found.items[-1][0]
        changed = [
            Item("00000", "gone", deleted=True),
            Item(f"00000-{page}", "Title before"),
            Item("~", "Title after all"),
        ]
        items.update({item.item_id: item for item in changed})
        index.take(items, changed)
    assert len(seen) == len(set(seen))
    assert {f"{n:05}" for n in range(1, 3 * CHUNK)} <= set(seen)


def test_a_chunk_that_grows_is_split_and_one_that_empties_goes() -> None:
    items = {f"{n:05}": Item(f"{n:05}", "t") for n in range(10)}
    index = index_of(items)
    for n in range(10, 5 * CHUNK):
        item = items[f"{n:05}"] = Item(f"{n:05}", "t")
        index.take(items, [item])
    assert index.find(Search(), 3, (0, 0.0, "04000"), {}).total == 5 * CHUNK
    assert ids(index.find(Search(), 3, (0, 0.0, "04000"), {})) == ["04001", "04002", "04003"]
    for item_id in list(items):
        items[item_id] = Item(item_id, "t", deleted=True)
        index.take(items, [items[item_id]])
    assert index.find(Search(), 3, None, {}) == SearchPage([], 0, False)

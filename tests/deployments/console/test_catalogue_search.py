from deployments.console.catalogue_search import count_categories, find_items
from features.items.catalogue import Item

ITEMS = {
    item.item_id: item
    for item in (
        Item("1", "The Empire Strikes Back", categories=("War", "Action")),
        Item("2", "Star Wars", categories=("War",)),
        Item("3", "Empire Records"),
        Item("4", "Empire of the Hidden", hidden=True, categories=("War",)),
        Item("5", "Deleted Empire", deleted=True),
    )
}


def found(query: str, limit: int = 10) -> list[str]:
    return [item.item_id for item in find_items(ITEMS, query, limit)]


def test_titles_that_begin_with_the_query_come_first() -> None:
    assert found("empire") == ["3", "1"]
    assert found("empire", limit=1) == ["3"]


def test_every_word_must_be_there_in_any_order() -> None:
    assert found("BACK empire") == ["1"]
    assert found("empire wars") == []


def test_an_id_is_found_too() -> None:
    assert found(" 2 ") == ["2"]


def test_what_is_not_recommended_is_not_counted() -> None:
    assert count_categories(ITEMS) == {"Action": 1, "War": 2}

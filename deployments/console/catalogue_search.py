"""Finding items by their title, for a person who types."""

from collections.abc import Mapping

from features.items.catalogue import Item


def find_items(items: Mapping[str, Item], query: str, limit: int) -> list[Item]:
    """Shown items whose title or id holds every word of `query`, those that begin with it first, then by title."""
    words = query.casefold().split()
    found = []
    for item in items.values():
        if not item.recommendable:
            continue
        title = item.title.casefold()
        if item.item_id == query.strip() or all(word in title for word in words):
            found.append((not title.startswith(query.casefold().strip()), title, item))
    return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])[:limit]]


def count_categories(items: Mapping[str, Item]) -> dict[str, int]:
    """Category -> how many shown items are in it, by name."""
    counts: dict[str, int] = {}
    for item in items.values():
        if item.recommendable:
            for name in item.categories:
                counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))

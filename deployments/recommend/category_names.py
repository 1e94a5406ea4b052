"""Categories that a request names and no item has."""

from collections.abc import Collection
from difflib import get_close_matches

from deployments.http.schemas import Filters

CLOSE = 3


def unknown_categories(filters: Filters, known: Collection[str]) -> list[str]:
    """A sentence for each category of the filters that is not among `known`, with the closest that are."""
    named = [
        *(("include_categories", name) for name in filters.include_categories or ()),
        *(("exclude_categories", name) for name in filters.exclude_categories),
    ]
    warnings = []
    for field, name in named:
        if name in known:
            continue
        folded = {one.casefold(): one for one in known}
        close = [folded[one] for one in get_close_matches(name.casefold(), folded, CLOSE)]
        hint = f"; close to it: {', '.join(close)}" if close else ""
        warnings.append(f"filters.{field}: no item has the category {name!r}{hint}")
    return warnings

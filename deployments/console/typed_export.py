"""What is kept of a user, with ids as the data set types them."""

from collections.abc import Callable
from typing import Any

TypedId = Callable[[str], int | str]


def typed_export(export: dict[str, Any], user: TypedId, item: TypedId) -> dict[str, Any]:
    """An export (see `features.users.erasure`) whose ids are whole numbers where other answers give whole numbers."""
    return {
        **export,
        "user_id": user(export["user_id"]),
        "history": [{**entry, "item_id": item(entry["item_id"])} for entry in export["history"]],
        "older_seen": [item(text) for text in export["older_seen"]],
        "events": [
            {**row, "user_id": user(row["user_id"]), "item_id": item(row["item_id"])} for row in export["events"]
        ],
        "exposures": [
            {**row, "user_id": user(row["user_id"]), "item_ids": [item(text) for text in row["item_ids"]]}
            for row in export["exposures"]
        ],
        "counted_lists": [
            {**row, "item_ids": [item(text) for text in row["item_ids"]]} for row in export["counted_lists"]
        ],
    }

"""Ids as the data set types them: whole numbers or texts, whatever an address or the store holds."""

from collections.abc import Callable
from typing import Any

from deployments.http.schemas import typed_id
from models.bundle.manifest import Manifest

TypedId = Callable[[str], int | str]


class IdTypes:
    """Gives ids of addresses the type that they have in the data set: a number or a text.

    Attributes:
        manifest: of the model that serves; it tells the types. Without one ids are texts.
    """

    def __init__(self) -> None:
        self.manifest: Manifest | None = None

    def user(self, text: str) -> int | str:
        return typed_id(text, self.manifest.user_id_type if self.manifest else "str")

    def item(self, text: str) -> int | str:
        return typed_id(text, self.manifest.item_id_type if self.manifest else "str")


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

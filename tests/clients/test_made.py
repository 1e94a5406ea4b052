"""What generators wrote is what they would write now, as far as that can be said without them."""

import json

import pytest
from raycommend_client import models

from clients.document import FILE, client_document, document_text
from clients.generate import RECORD, record

AGAIN = "run `make clients`, and commit what it writes"


def test_the_document_of_the_clients_is_that_of_the_applications() -> None:
    assert FILE.read_text() == document_text(), f"clients/openapi.json is stale: {AGAIN}"


@pytest.mark.parametrize("part", ["from", "made"])
def test_nothing_that_was_made_is_stale_or_was_changed_by_hand(part: str) -> None:
    said, now = json.loads(RECORD.read_text())[part], record()[part]
    changed = sorted(name for name in said.keys() | now.keys() if said.get(name) != now.get(name))
    assert changed == [], f"{AGAIN}: these are other than when everything was made"


def test_the_document_has_what_a_shop_calls_and_every_schema_that_it_names() -> None:
    document = client_document()
    assert {"/api/v1/recommend", "/api/v1/events/batch", "/api/v1/items/{item_id}", "/health"} <= set(document["paths"])
    assert not [path for path in document["paths"] if "experiments" in path or "keys" in path]
    named = json.dumps(document).count('"$ref"')
    schemas = set(document["components"]["schemas"])
    assert named > 20
    assert {"EventRequest", "EventRefusal", "ErrorContent", "Filters"} <= schemas
    assert all(hasattr(models, name) for name in schemas)


def test_an_answer_of_a_later_server_is_read() -> None:
    """A source of items and a field that are new there."""
    shown = {"item_id": 1, "score": 0.5, "rank": 1, "title": "T", "genres": [], "source": "astrology", "aura": "red"}
    assert models.Recommendation.model_validate(shown).source == "astrology"

"""Objects within the rows of JSON lines or Parquet are no ids, no event types and no titles."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset import DataError, load_dataset
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, UnclearMap, make_plan


def event(n: int) -> dict[str, Any]:
    return {"userId": f"u{n % 7}", "itemId": f"i{n % 5}", "event_type": "view", "timestamp": 1_700_000_000 + n}


def write(folder: Path, rows: list[dict[str, Any]], name: str, kind: str = "jsonl") -> str:
    path = folder / f"{name}.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_columns_of_objects_are_no_candidates(tmp_path: Path, kind: str) -> None:
    """Regression: an event of the type `{"kind": "playback"}` was asked for, or the JSON text taken for an id."""
    rows = [event(n) | {"user": {"id": n % 7}, "event": {"kind": "play"}, "lines": [{"sku": n}]} for n in range(40)]
    plan = make_plan(Sources(write(tmp_path, rows, "events", kind)))
    assert (plan.chosen.interactions.user_id, plan.chosen.interactions.event_type.column) == ("userid", "event_type")
    assert "  not read: user, event, lines (objects; nested fields must be flattened before)" in plan.lines


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_nothing_but_objects_is_asked_for_and_a_map_that_names_one_is_refused(tmp_path: Path, kind: str) -> None:
    rows = [event(n) | {"userId": {"account": n % 7}} for n in range(40)]
    events = write(tmp_path, rows, "events", kind)
    with pytest.raises(UnclearMap, match=r"user_id: userid holds an object: name a plain column") as unclear:
        make_plan(Sources(events))
    assert "user_id: COLUMN" in str(unclear.value)
    own = tmp_path / "own.yaml"
    own.write_text("interactions: {user_id: userId}")
    with pytest.raises(DataError, match=r"interactions\.user_id: .*column userid holds an object: name a plain column"):
        make_plan(Sources(events, map=own))


def test_objects_among_plain_ids_are_refused_with_their_rows(tmp_path: Path) -> None:
    rows = [event(n) for n in range(40)] + [event(40) | {"userId": {"id": "u1"}}]
    rows.append(event(41) | {"userId": "{f9168c5e-ceb2-4faa-b6bf-329bf39fa1e4}"})
    found = import_tables(
        make_plan(Sources(write(tmp_path, rows, "events"))), tmp_path / "processed", tmp_path / "refused.jsonl"
    )
    assert [first.split(": ", 1)[1] for first in found.refusals.first] == [
        "row 41, column userid: is an object: name a plain column; nested fields must be flattened before",
    ]
    assert found.meta.n_interactions == 41


def test_a_title_that_is_an_object_is_left_out_and_told(tmp_path: Path) -> None:
    """Regression: the title was its JSON text."""
    items = [{"itemId": f"i{n}", "title": {"en": "Tea"} if n == 2 else f"Tea {n}"} for n in range(5)]
    events = write(tmp_path, [event(n) for n in range(40)], "events")
    found = import_tables(
        make_plan(Sources(events, write(tmp_path, items, "items"))), tmp_path / "processed", tmp_path / "refused.jsonl"
    )
    titles = load_dataset(tmp_path / "processed").items.set_index("item_id")["title"]
    assert (titles["i1"], titles["i2"]) == ("Tea 1", "i2")
    assert "row 3, column title: is an object: name a plain column" in found.refusals.first[0]

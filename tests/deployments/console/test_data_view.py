"""What the console tells of the data: on a real store, a real data set and real files of imports."""

import json
from pathlib import Path

import pandas as pd
import pytest

from configs import clock
from configs.event_types import load_event_types
from configs.settings import Settings, Store
from data.dataset import Tables
from data.dataset_writer import write_dataset
from deployments.catalogue.typed_ids import IdTypes
from deployments.console.data_view import DataState
from deployments.console.import_records import MOST_IMPORTS, MOST_REFUSALS, latest_imports
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import StoreClient
from features.redis.keys import Keys

pytestmark = pytest.mark.anyio


def state_of(settings: Settings, client: StoreClient, keys: Keys) -> DataState:
    return DataState(settings, client, keys, IdTypes(), lambda item_id: f"title of {item_id}")


@pytest.fixture
def settings(tmp_path: Path, store_settings: Store) -> Settings:
    return Settings(state_dir=tmp_path / "state", data_dir=tmp_path / "data", store=store_settings.model_dump())


def put_data_set(settings: Settings) -> None:
    interactions = pd.DataFrame(
        {
            "user_id": ["ada", "bob", "bob"],
            "item_id": ["x", "x", "y"],
            "event_type": ["purchase", "purchase", "view"],
            "value": pd.array([None] * 3, dtype="Float32"),
            "timestamp_ms": [1_000, 2_000, 3_000],
        }
    )
    items = pd.DataFrame(
        {"item_id": ["x", "y"], "title": ["x", "y"], "year": None, "categories": [[], []], "added_ms": None}
    )
    tables = Tables(interactions, items, pd.DataFrame({"user_id": ["ada", "bob"]}))
    folder = settings.data_dir / "processed"
    write_dataset(folder, tables, "orders", "orders.csv", "0" * 64, ("str", "str"))
    (folder / "map.yaml").write_text("user_id: household\nitem_id: product\n")


async def test_nothing_imported_is_said_in_words(settings: Settings, client: StoreClient, keys: Keys) -> None:
    view = await state_of(settings, client, keys).view()
    assert (view.data_set, view.mapping, view.event_types, view.imports) == (None, None, {}, [])
    assert view.problem == "no data set was imported, or this machine does not have it"
    assert (view.events, view.last_event, view.last_arrival, view.log.parts) == (0, None, None, 0)


async def test_the_data_set_its_map_and_what_came_since(settings: Settings, client: StoreClient, keys: Keys) -> None:
    put_data_set(settings)
    store = OnlineStore(client, keys, settings.store, load_event_types(settings.data.events))
    now_ms = clock.now_ms()
    for number in range(5):
        event = Event(f"e{number}", "ada", f"item {number}", "view", now_ms - number, None, now_ms)
        await store.record_events([event])
    state = state_of(settings, client, keys)
    view = await state.view()
    assert view.data_set is not None
    assert (view.data_set.name, view.data_set.n_interactions, view.problem) == ("orders", 3, None)
    assert view.mapping == {"user_id": "household", "item_id": "product"}
    assert view.event_types == {"purchase": 2, "view": 1}
    assert (view.events, view.streams["events"].pending) == (5, 5)
    assert view.last_arrival is not None
    recent = (await state.recent(3)).events
    assert [(one.user_id, one.title) for one in recent] == [("ada", f"title of item {n}") for n in (4, 3, 2)]


def test_the_latest_imports_and_their_first_refusals_are_bounded(tmp_path: Path) -> None:
    for number in range(MOST_IMPORTS + 3):
        state = {"rows": 100, "recorded": 40, "duplicates": 10, "refused": 50, "finished": True}
        (tmp_path / f"orders-{number}.json").write_text(json.dumps(state))
        lines = [{"row": row, "field": "time", "reason": "r" * 1000} for row in range(1, 51)]
        (tmp_path / f"orders-{number}-refused.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (tmp_path / "half-written.json").write_text('{"rows":')
    found = list(latest_imports(tmp_path))
    assert MOST_IMPORTS - 1 <= len(found) <= MOST_IMPORTS
    for one in found:
        assert (one.rows, one.refused) == (100, 50)
        assert [row.row for row in one.first_refused] == list(range(1, MOST_REFUSALS + 1))
        assert max(len(row.reason) for row in one.first_refused) <= 300
    assert list(latest_imports(tmp_path / "none")) == []


def test_a_report_without_counts_is_told_too(tmp_path: Path) -> None:
    lines = [{"file": "orders.csv", "row": 7, "column": "ts", "reason": "'soon' is no time"}]
    (tmp_path / "refused-orders-1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    [found] = latest_imports(tmp_path)
    assert (found.name, found.refused, found.finished) == ("refused-orders-1", None, None)
    [row] = found.first_refused
    assert (row.file, row.row, row.field, row.reason) == ("orders.csv", 7, "ts", "'soon' is no time")
    assert found.report == str(tmp_path / "refused-orders-1.jsonl")

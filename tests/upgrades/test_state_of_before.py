"""What the version before wrote is read: `format_1`, which `write_state.py` wrote by the code of 27 November 2026, and
what the code of the newest tag writes (another one: UPGRADE_FROM=<any git reference>)."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from configs.event_types import load_event_types
from configs.settings import PROJECT_DIR, Settings
from configs.versions.formats import BUNDLE, STORE
from configs.versions.program import program_version
from data.event_log import EventLog
from features.access.key_records import read_records
from features.items.attribute_schema import read_schemas
from features.items.catalogue import read_item
from features.recording.online_store import OnlineStore
from features.redis.connection import connect
from features.redis.errors import LayoutError
from features.redis.layout import keys_of
from features.serving.serving_state import read_state
from features.streams.compaction import compact
from features.users.erasure import read_erasures
from jobs.maintenance.restore import restore
from models.bundle.reading import load_bundle, read_manifest
from tests.features import reading
from tests.features.servers import Server, valkey_binary

pytestmark = pytest.mark.anyio
HERE = Path(__file__).parent
FORMAT_1, NEWEST_TAG = "format_1", "the newest tag"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def newest_tag() -> str:
    """The git reference whose code is to write; skips where there is none."""
    if given := os.environ.get("UPGRADE_FROM"):
        return given
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    found = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("no git tag v* to update from: give one by UPGRADE_FROM=<git reference>")
    return found.stdout.strip()


@pytest.fixture(scope="module", params=[FORMAT_1, pytest.param(NEWEST_TAG, marks=pytest.mark.matrix)])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the version before wrote."""
    if request.param == FORMAT_1:
        return HERE / FORMAT_1
    code, folder = tmp_path_factory.mktemp("code"), tmp_path_factory.mktemp("written")
    archive = subprocess.run(["git", "archive", newest_tag()], cwd=PROJECT_DIR, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(code)], input=archive.stdout, check=True)
    command = [sys.executable, "-P", str(HERE / "write_state.py"), str(folder)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(code)}, cwd=code, check=True)
    return folder


@pytest.fixture
def state_dir(written: Path, tmp_path: Path) -> Path:
    """A copy of the state folder that may be changed."""
    shutil.copytree(written / "state", tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def server(state_dir: Path) -> Iterator[Server]:
    started = Server(valkey_binary(), state_dir / "store")
    yield started
    started.stop()


@pytest.fixture
def settings(state_dir: Path, server: Server, tmp_path: Path) -> Settings:
    store = {"url": server.url, "prefix": "rc", "partitions": 2, "timeout_s": 30}
    return Settings(state_dir=state_dir, data_dir=tmp_path / "data", store=store)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[OnlineStore]:
    client = connect(settings.store, settings.store_url)
    yield OnlineStore(client, keys_of(settings.store), settings.store, load_event_types())
    await client.aclose()


def test_a_bundle_of_before_is_read(state_dir: Path) -> None:
    [path] = (state_dir / "bundles").iterdir()
    bundle = load_bundle(path)
    assert BUNDLE.oldest <= bundle.manifest.format <= BUNDLE.current
    assert bundle.ranking is not None
    assert bundle.content is not None
    assert bundle.item_factors.shape == (20, 4)


async def test_a_store_of_before_goes_on_under_the_present_format(store: OnlineStore, settings: Settings) -> None:
    client, keys = store.client, store.keys
    await store.prepare()
    told = await client.run("HMGET", keys.meta, "format", "written_by", "partitions")
    assert told == [str(STORE.current).encode(), program_version().encode(), b"2"]
    await store.prepare()
    state = await read_state(client, keys)
    [bundle] = settings.bundles_dir.iterdir()
    assert state.serving("champion") == read_manifest(bundle).version
    assert [state.experiments["colours"].names, state.experiments["colours"].status] == [["a", "b"], "draft"]
    records = await read_records(client, keys)
    assert records is not None
    assert [(key.name, key.scopes) for key in records.keys] == [("ops", ("admin",))]
    assert await read_schemas(client, keys) == ({"brand": "keyword"}, {"age": "number"})
    item = await read_item(client, keys, "new")
    assert item is not None
    assert (item.title, item.categories) == ("New", ("Drama",))
    assert (await read_erasures(client, keys, settings.log_dir)).covers("44")


async def test_each_event_of_before_is_there_once(settings: Settings) -> None:
    """Two thirds of them lie in the log, the others in the streams."""
    await compact(settings)
    found = [name for table in EventLog(settings.log_dir).tables("events") for name in table["event_id"].to_pylist()]
    assert sorted(found) == sorted(f"e{number}" for number in range(60))


async def test_a_backup_of_before_is_restored(written: Path, settings: Settings, tmp_path: Path) -> None:
    limits = settings.store.model_copy(update={"prefix": f"t{uuid.uuid4().hex[:12]}"})
    other = tmp_path / "other"
    elsewhere = settings.model_copy(update={"store": limits, "state_dir": other / "state", "data_dir": other / "data"})
    done = await restore(elsewhere, written / "backup")
    assert (done.interactions, done.logged_events) == (72, 40)
    client, keys = connect(limits, settings.store_url), keys_of(limits)
    try:
        assert (await read_state(client, keys)).serving("champion") is not None
    finally:
        await client.aclose()


async def test_a_store_that_a_later_version_wrote_is_refused_untouched(store: OnlineStore) -> None:
    later = ("format", STORE.current + 1, "written_by", "9.9.9", "partitions", 2)
    await store.client.run("HSET", store.keys.meta, *later)
    before = await reading.everything(store)
    with pytest.raises(LayoutError) as refused:
        await store.prepare()
    assert str(refused.value).startswith(
        f"the store: an online store of format {STORE.current + 1}, written by Raycommend 9.9.9; this is Raycommend "
        f"{program_version()}, which reads formats {STORE.oldest} to {STORE.current}: run the version that wrote it"
    )
    assert await reading.everything(store) == before

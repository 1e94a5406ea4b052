"""Fixtures for the whole suite: the project's settings, and the whole stack as `make up` starts it."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from hypothesis import settings as hypothesis_settings

from configs.settings import PROJECT_DIR, Ports, Settings, Tracing, load_settings
from data.builtin.movielens import open_source
from data.prepare import fetch
from deployments.local.preflight import taken_ports
from deployments.local.processes import Record
from deployments.local.ray_environment import REPLICA_PORTS, WORKER_PORTS, client_environment, resolved_settings
from deployments.local.serve_control import ServeControl
from tests.groups import ByGroup, group_of
from tests.shared_browser import end_browser
from tests.trained_state import move_in, take_copy, wait_for_copy

hypothesis_settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis_settings.register_profile("free", deadline=None, print_blob=True)
hypothesis_settings.load_profile("fixed")
# LightGBM's threads spin while they wait for one another. Beside other workers that takes more time than the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
UP_S = 600
RUN_S = 600
LANES = 5
FIRST, SECOND = "first", "other"  # folders of the two stacks: names of one length, see `trained_state.move_in`
HAS_FIRST_STACK = pytest.StashKey[bool]()
OF_GROUP = pytest.StashKey[contextlib.ExitStack]()  # ends what runs for the group of the present test
COLLECTOR = 60  # ports above the API's, where a test may listen for traces


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile what numba compiles, while the workers collect their tests: whoever needs a function before it is on disk
    waits for it."""
    session.stash[OF_GROUP] = contextlib.ExitStack()
    if session.config.getoption("numprocesses", None):
        compiling = subprocess.Popen([sys.executable, "-m", "models.compile"], cwd=PROJECT_DIR)
        session.config.add_cleanup(compiling.wait)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the browser before a test that asks for none, and the stack of a group after its last test. Until the end of
    the session it would take a sixth of a core."""
    if "browser" not in getattr(nextitem, "fixturenames", ()):
        end_browser()
    if nextitem is None or group_of(nextitem.nodeid) != group_of(item.nodeid):
        item.session.stash[OF_GROUP].close()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup | None:
    return ByGroup(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Put first what takes longest, and within a stack last what breaks or replaces parts of it, and then what ends it.

    The second stack starts from the model that the first one trains. So its worker waits at first, but both stacks come
    to their end in the time of the longer one, and other workers do meanwhile what needs none.
    """
    order = ["stack", "console", "jobs", "retrain", "features", "start"]
    needs_first = (group_of(item.nodeid) == "stack" and "stack" in getattr(item, "fixturenames", ()) for item in items)
    session.stash[HAS_FIRST_STACK] = any(needs_first)

    def place(item: pytest.Item) -> tuple[int, bool, bool]:
        group = group_of(item.nodeid)
        breaks, ends = (item.get_closest_marker(name) is not None for name in ("destructive", "ends_stack"))
        return order.index(group) if group in order else len(order), ends, breaks

    items.sort(key=place)


@dataclass(frozen=True)
class RunningStack:
    """The stack of this test session, on ports and in a folder of its own.

    Attributes:
        settings: with which it runs.
        url: of the API.
        environment: variables with which `ray`, `serve` and `python -m jobs...` reach it.
        printed: what `up` has printed.
        said_before: what the first stack said when its state was copied (`trained_state.answers`), for the stack that
            has started from that copy; else nothing.
    """

    settings: Settings
    url: str
    environment: dict[str, str]
    printed: str
    said_before: dict[str, Any] = field(default_factory=dict)

    def run(self, args: list[str], timeout_s: float = RUN_S) -> str:
        """Run a command from the project's folder; its output. A failure shows that output."""
        done = subprocess.run(
            args, env=self.environment, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"{' '.join(args)} gave {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the local stack, as `make` does; also when it fails."""
        return local_stack(self.settings, *words)

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """The supervisor pauses: it would end what a test stops for long."""
        record = Record.read(self.settings.state_dir / "run" / "supervisor.json")
        assert record is not None
        os.kill(record.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(record.pid, signal.SIGCONT)


@pytest.fixture
def probe_url(stack: RunningStack) -> str:
    """Address of `tests/stack/serve_probe.py`, added to what the stack serves."""
    serve = ServeControl(stack.settings, print)
    if serve.states().get("probe") == "RUNNING":
        return f"{stack.url}/probe"
    config = yaml.safe_load((stack.settings.state_dir / "serve_config.yaml").read_text())
    probe = {"name": "probe", "route_prefix": "/probe", "import_path": "tests.stack.serve_probe:application"}
    file = stack.settings.state_dir / "serve_config_with_probe.yaml"
    file.write_text(yaml.safe_dump({**config, "applications": [*config["applications"], probe]}))
    stack.run(["serve", "deploy", str(file)])
    deadline = time.monotonic() + 60
    while (state := serve.states().get("probe")) != "RUNNING":
        assert state != "DEPLOY_FAILED", stack.run(["serve", "status", "--name", "probe"])
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return f"{stack.url}/probe"


def local_stack(settings: Settings, *words: str) -> "subprocess.CompletedProcess[str]":
    """`python -m deployments.local WORDS` with `settings`."""
    file = settings.state_dir.parent / f"{settings.state_dir.name}.settings.yaml"
    file.write_text(resolved_settings(settings))
    environment = {name: value for name, value in os.environ.items() if not _steers(name)}
    return subprocess.run(
        [sys.executable, "-m", "deployments.local", *words],
        env={**environment, "RAYCOMMEND_CONFIG": str(file)},
        cwd=PROJECT_DIR,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=UP_S,
        check=False,
    )


def records(settings: Settings) -> dict[str, Record]:
    """The processes of a stack that a command has started and not yet ended, by part."""
    found = {path.stem: Record.read(path) for path in (settings.state_dir / "run").glob("*.json")}
    return {name: record for name, record in found.items() if record}


def _steers(name: str) -> bool:
    """Variables of a person's own stack, which must not lead the tests to it."""
    return name.startswith(("RAYCOMMEND_", "RAY_")) or name in ("REDIS_URL", "MLFLOW_TRACKING_URI", "DATA")


@pytest.fixture(scope="session")
def project_settings() -> Settings:
    """The settings as this machine has them, for what tests share with the project: the downloaded data."""
    return load_settings()


@contextlib.contextmanager
def free_ports() -> Iterator[Ports]:
    """Ports that nobody uses, below those that the system hands out, and for this caller alone."""
    for lane in range(LANES):
        with (Path(tempfile.gettempdir()) / f"raycommend-tests-{os.getuid()}-{lane}.lock").open("w") as lock:
            if not _try_lock(lock):
                continue
            names = [name for name in Ports.model_fields if name not in ("replicas", "workers")]
            ports = {name: 11_000 + 100 * lane + number for number, name in enumerate(names)}
            ports["workers"] = 21_000 + WORKER_PORTS * lane
            ports["replicas"] = 30_600 + 2 * REPLICA_PORTS * lane
            chosen = Ports(**ports)
            if not taken_ports(Settings(ports=chosen), set()):
                yield chosen
                return
    pytest.fail("no free ports for a test stack")


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this session that all of its workers see."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "stacks"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _settings(folder: Path, data_dir: Path, ports: Ports, source: Path | None = None) -> Settings:
    """Settings of a stack that shares nothing with the person's own but the downloaded data."""
    return Settings(
        state_dir=folder / "state",
        data_dir=data_dir,
        data={"source": None if source is None else str(source)},
        ports=ports,
        store={"prefix": "test"},
        training={"trials": 1, "factors": 16, "ranker_trees": 40},
    )


@pytest.fixture
def idle_settings(tmp_path: Path, project_settings: Settings) -> Iterator[Settings]:
    """Settings of a stack that nobody has started, whether or not the session's own runs."""
    with free_ports() as ports:
        yield _settings(tmp_path, project_settings.data_dir, ports)


@pytest.fixture(scope="session")
def some_users(common_folder: Path, project_settings: Settings) -> Path:
    """MovieLens 100K with a third of its users, as a person's own copy: a training on it takes a third of the time."""
    folder = common_folder / "some-users"
    with (common_folder / "some-users.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            files = open_source(fetch(project_settings.data_dir / "raw")[0])
            partial = folder.with_suffix(".partial")
            partial.mkdir()
            for role, (name, raw) in files.texts.items():
                (partial / name).write_bytes(raw if role == "items" else _of_some_users(raw))
            partial.rename(folder)
    return folder


def _of_some_users(table: bytes) -> bytes:
    """The header, and the rows of the users 1 to 300 and of 405, who has the longest history; a row begins with its
    user."""
    lines = table.splitlines(keepends=True)
    users = {str(user).encode() for user in (*range(1, 301), 405)}
    return b"".join(
        line for line in lines if not line[:1].isdigit() or re.split(rb"[\t|]", line, maxsplit=1)[0] in users
    )


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, common_folder: Path, some_users: Path) -> RunningStack:
    """The whole stack, its first model trained by `up`. It logs some requests and traces what its callers trace."""
    return request.session.stash[OF_GROUP].enter_context(_first_stack(request, common_folder, some_users))


@contextlib.contextmanager
def _first_stack(request: pytest.FixtureRequest, common_folder: Path, some_users: Path) -> Iterator[RunningStack]:
    folder = common_folder / FIRST
    with contextlib.ExitStack() as on_failure, free_ports() as ports:
        on_failure.callback((common_folder / "failed").touch)
        settings = _settings(folder, common_folder / "data", ports, some_users)
        collector = f"http://127.0.0.1:{ports.http + COLLECTOR}/v1/traces"
        serving = settings.serving.model_copy(update={"log_share": 0.05})
        settings = settings.model_copy(update={"tracing": Tracing(endpoint=collector, share=0), "serving": serving})
        with _running(request, settings) as running:
            take_copy(running.url, settings.state_dir, common_folder / "trained")
            on_failure.pop_all()
            yield running


@pytest.fixture(scope="session")
def second_stack(request: pytest.FixtureRequest, common_folder: Path, some_users: Path) -> RunningStack:
    """Another stack, for tests that promote, experiment and kill, which others would notice.

    It starts from a copy of the first one's state. A session without tests of the first one lets it train for itself.
    """
    return request.session.stash[OF_GROUP].enter_context(_second_stack(request, common_folder, some_users))


@contextlib.contextmanager
def _second_stack(request: pytest.FixtureRequest, common_folder: Path, some_users: Path) -> Iterator[RunningStack]:
    first, own, copy = (common_folder / name for name in (FIRST, SECOND, "trained"))
    with free_ports() as ports:
        settings = _settings(own, common_folder / "data", ports, some_users)
        said_before = {}
        if request.session.stash[HAS_FIRST_STACK] and wait_for_copy(copy, common_folder / "failed"):
            said_before = move_in(copy, first / "state", settings.state_dir)
        with _running(request, settings) as running:
            yield replace(running, said_before=said_before)


@contextlib.contextmanager
def _running(request: pytest.FixtureRequest, settings: Settings) -> Iterator[RunningStack]:
    settings.state_dir.parent.mkdir(exist_ok=True)
    try:
        up = local_stack(settings, "up")
        if up.returncode == 2 and os.environ.get("CI") != "true":
            pytest.skip(f"the stack cannot run on this machine: {up.stderr.strip()}")
        if up.returncode != 0:
            pytest.fail(f"the stack did not start\n{up.stdout[-4000:]}\n{up.stderr[-4000:]}\n{_logs(settings)}")
        url = f"http://127.0.0.1:{settings.ports.http}"
        yield RunningStack(settings, url, client_environment(settings), up.stdout)
    finally:
        if request.session.testsfailed:
            _show(request, _logs(settings))
        down = local_stack(settings, "down")
        shutil.rmtree(settings.run_dir, ignore_errors=True)
        assert down.returncode == 0, down.stderr


def _logs(settings: Settings) -> str:
    shown = local_stack(settings, "logs", "--lines", "40").stdout
    serve = settings.run_dir / "ray" / "session_latest" / "logs" / "serve"
    for log in sorted(serve.glob("*.log")):
        lines = [line[:1500] for line in log.read_text(errors="replace").splitlines() if '"INFO"' not in line]
        if lines:
            shown += "\n".join(["", f"== {log.name}", *lines[-15:]])
    return shown


def _show(request: pytest.FixtureRequest, text: str) -> None:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{text}")

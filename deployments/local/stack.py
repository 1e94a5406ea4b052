"""The platform on one machine as one thing: what is started, in which order, and what is undone when that fails."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from configs.addresses import without_credentials
from configs.settings import PROJECT_DIR, Settings, with_preset
from deployments.local.preflight import problems
from deployments.local.private_file import write_private
from deployments.local.processes import Record, start, stop
from deployments.local.ray_environment import (
    client_environment,
    env_file,
    make_token,
    resolved_settings,
    settings_file,
    stack_environment,
)
from deployments.local.serve_control import ServeControl
from deployments.local.stack_parts import StackPart, StartError, parts

PART_NAMES = ("store", "mlflow", "ray")
SWEEP_S = 10.0
# The settings that say where things are.
_WHERE = ("ports.", "store.", "tracking.uri", "state_dir", "data_dir", "serving.host")


class PreflightError(Exception):
    """Something outside must change first; nothing was started."""


class LocalStack:
    """The stack that belongs to one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings = _without_own_addresses(settings)
        self.state_dir = settings.state_dir.resolve()
        self.serve = ServeControl(settings, say)

    def up(self, trials: int | None = None) -> None:
        """Start what does not run, deploy, train if there is no model, and wait until that is served.

        Args:
            trials: of the search in the first training, if there is one.

        Raises:
            PreflightError: before anything was started.
            StartError: what this call had started is stopped again.
        """
        wanted = parts(self.settings)
        self._sweep()
        running = set(self.records())
        self._same_settings(running)
        if running == {part.name for part in wanted} and self.serve.serving():
            self.show()
            return
        if found := problems(self.settings, running):
            raise PreflightError("\n".join(found))
        self._prepare_folders()
        started: list[StackPart] = []
        try:
            self._run("data", "data.prepare")
            self.settings = with_preset(self.settings)
            write_private(settings_file(self.settings), resolved_settings(self.settings))
            for part in wanted:
                if part.name not in running:
                    started.append(part)
                    self._start(part)
            for part in started:
                self._wait_for(part)
            write_private(self.state_dir / "env", env_file(self.settings))
            self._run("features", "jobs.rebuild_features", "--if-empty")
            # What is popular can be asked for while the first model is being trained
            self.serve.deploy()
            self._first_model(trials)
        except BaseException:
            say("stopping what was started")
            with _undisturbed():
                self._stop([part.name for part in reversed(started)])
            raise
        self.show()

    def down(self) -> bool:
        """Stop everything that was started, in order. False if nothing was."""
        if not self.records():
            return False
        self._stop(list(reversed(PART_NAMES)))
        (self.state_dir / "env").unlink(missing_ok=True)
        return True

    def records(self) -> dict[str, Record]:
        """What was started and not yet stopped, whether or not it still lives."""
        found = {name: Record.read(self._record_path(name)) for name in PART_NAMES}
        return {name: record for name, record in found.items() if record is not None}

    def show(self) -> None:
        """Print where everything is."""
        settings = self.settings
        body = f"-H 'Content-Type: application/json' -d '{json.dumps({'user_id': self._some_user()})}'"
        rows = {
            "API": f"{self.serve.url}/api/v1",
            "documentation": f"{self.serve.url}/docs",
            "console": f"{self.serve.url}/",
            "Ray dashboard": f"{self.serve.dashboard}  (asks for a token: cat {settings.token_path})",
            "MLflow": without_credentials(settings.tracking_uri),
            "for ray, serve": f"source {self.state_dir / 'env'}",
        }
        print()
        for name, value in rows.items():
            print(f"  {name:<16}{value}")
        print(f"\n  curl -s {self.serve.url}/api/v1/recommend {body}\n", flush=True)

    def _some_user(self) -> int | str:
        """A user of the data set to ask for first."""
        folder = self.settings.data_dir / "processed"
        try:
            kind = json.loads((folder / "dataset.json").read_bytes())["user_id_type"]
            found = next(pq.ParquetFile(folder / "users.parquet").iter_batches(1, columns=["user_id"]))[0][0].as_py()
        except (OSError, ValueError, KeyError, StopIteration):
            return 1
        return int(found) if kind == "int" else str(found)

    def _sweep(self) -> None:
        """Forget parts that died, and end what they left behind: it may hold their ports."""
        for name, record in self.records().items():
            if not record.alive():
                say(f"{name}: had ended by itself; its log: {record.log}.1")
                stop(record, SWEEP_S, say)
                self._record_path(name).unlink()

    def _same_settings(self, running: set[str]) -> None:
        """A running stack keeps the settings with which it started; other addresses or folders would be another one."""
        file = settings_file(self.settings)
        if not running or not file.exists():
            return
        old, new = yaml.safe_load(file.read_text()), yaml.safe_load(resolved_settings(self.settings))
        if changed := sorted(_flat(old).items() ^ _flat(new).items()):
            names = ", ".join(dict.fromkeys(name for name, _ in changed))
            if moved := dict.fromkeys(name for name, _ in changed if name.startswith(_WHERE)):
                raise PreflightError(f"the stack runs with another {', '.join(moved)}: run `make down` first")
            say(f"changed settings take effect after `make down` and `make up`: {names}")

    def _prepare_folders(self) -> None:
        for folder in (self.state_dir, self.settings.run_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("logs", "run", "store", "mlflow"):
            (self.state_dir / name).mkdir(exist_ok=True)
        make_token(self.settings.token_path)
        write_private(settings_file(self.settings), resolved_settings(self.settings, with_data=False))

    def _start(self, part: StackPart) -> None:
        if part.name == "ray":
            shutil.rmtree(self.settings.run_dir / "ray", ignore_errors=True)
        log = self.state_dir / "logs" / f"{part.name}.log"
        record, _ = start(part.name, part.command, stack_environment(self.settings), part.address, log)
        record.save(self._record_path(part.name))

    def _wait_for(self, part: StackPart) -> None:
        record = self.records()[part.name]
        give_up = time.monotonic() + part.start_s
        while not part.ready():
            if not record.alive():
                raise StartError(f"{part.name} ended at once", Path(record.log))
            if time.monotonic() > give_up:
                raise StartError(f"{part.name} was not ready within {part.start_s:.0f} s", Path(record.log))
            time.sleep(0.1)
        say(f"{part.name}: {part.address} (pid {record.pid}, {time.time() - record.started_at:.1f} s)")

    def _first_model(self, trials: int | None) -> None:
        """Train a first model if there is none, and wait until the replicas serve it."""
        options = [] if trials is None else ["--trials", str(trials)]
        say(f"{self.serve.url} answers; with what is popular, as long as there is no model")
        self._run("model", "jobs.first_model", *options)
        self.serve.wait_for_model()

    def _run(self, what: str, module: str, *arguments: str) -> None:
        """Run a module of the project in the foreground, so that the user sees what it prints."""
        command = [sys.executable, "-m", module, *arguments]
        code = subprocess.run(command, cwd=PROJECT_DIR, env=client_environment(self.settings), check=False).returncode
        if code != 0:
            raise StartError(f"{what}: `python -m {module}` failed, see above (exit code {code})")

    def _stop(self, names: list[str]) -> None:
        known = {part.name: part for part in parts(self.settings)}
        for name in names:
            record = self.records().get(name)
            if record is None:
                continue
            if name == "ray" and record.alive():
                self.serve.drain()
            stop(record, known[name].stop_s if name in known else 30.0, say)
            self._record_path(name).unlink()
            say(f"{name}: stopped")

    def _record_path(self, name: str) -> Path:
        return self.state_dir / "run" / f"{name}.json"


def _without_own_addresses(settings: Settings) -> Settings:
    """The settings without the addresses that the stack gives its own parts: `env`, which a person may have sourced,
    exports them, and they would be taken for a store and a registry of somebody else's."""
    own = settings.model_copy(
        update={
            "store": settings.store.model_copy(update={"url": None}),
            "tracking": settings.tracking.model_copy(update={"uri": None}),
        }
    )
    kept: dict[str, Any] = {}
    if settings.store_url == own.store_url:
        kept["store"] = own.store
    if settings.tracking_uri == own.tracking_uri:
        kept["tracking"] = own.tracking
    return settings.model_copy(update=kept)


def say(text: str) -> None:
    print(text, flush=True)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{"ports": {"http": 1}} -> {"ports.http": "1"}."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return flat


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave half of the processes behind."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

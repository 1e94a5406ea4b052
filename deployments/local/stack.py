"""The platform on one machine as one thing: what is started, in which order, and what is undone when that fails."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from configs import store_users, tracking_login
from configs.addresses import without_credentials
from configs.settings import PROJECT_DIR, Settings, with_preset
from configs.supervision import FILE_NAME, read_supervision
from configs.versions.formats import FormatError
from configs.versions.state_folder import check_state_format, mark_state_format
from configs.versions.tracking_database import bring_tracking_database_up
from deployments.local.folder_lock import SUPERVISOR, FolderLock
from deployments.local.preflight import problems
from deployments.local.private_file import NotPrivateError, make_private, write_private
from deployments.local.processes import Record, end, start, stop
from deployments.local.ray_environment import (
    clear_run_folder,
    client_environment,
    env_file,
    make_token,
    resolved_settings,
    settings_file,
    stack_environment,
)
from deployments.local.serve_control import ServeControl
from deployments.local.signals import deferred, undisturbed
from deployments.local.stack_parts import StackPart, StartError, parts

PART_NAMES = ("store", "mlflow", "ray")
SWEEP_S = 10.0
QUICK_SWEEP_S = 1.0
"""How long the orphans of a part may take to end while clients wait for the part to be back."""
SUPERVISOR_START_S = 60.0
SUPERVISOR_END_S = 150.0
"""One that runs in the foreground takes the whole stack down before it ends."""
# The settings that say where things are.
_WHERE = ("ports.", "store.", "tracking.uri", "state_dir", "data_dir", "serving.host")


class PreflightError(Exception):
    """Something outside must change first; nothing was started."""


class LocalStack:
    """The stack that belongs to one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings = settings.without_own_addresses()
        self.state_dir = settings.state_dir.resolve()
        self.serve = ServeControl(settings, say)

    def up(self, trials: int | None = None, supervised: bool = True) -> FolderLock | None:
        """Start what does not run, deploy, train if there is no model, and wait until that is served; then start the
        supervisor.

        Args:
            trials: of the search in the first training, if there is one.
            supervised: whether to start a supervisor; else the caller is to be it.

        Returns:
            The supervisor's lock, where the caller is to be the supervisor.

        Raises:
            PreflightError: before anything was started.
            StartError: what this call had started is stopped again.
        """
        try:
            check_state_format(self.state_dir)
        except FormatError as error:
            raise PreflightError(str(error)) from None
        wanted = parts(self.settings)
        lock = self._supervisor_lock(supervised)
        started: list[str] = []
        try:
            if lock is not None and not self.records():
                (self.state_dir / FILE_NAME).unlink(missing_ok=True)
            self._sweep()
            running = set(self.records())
            self._same_settings(running)
            if "ray" in running:
                self.serve.ray_runs()
            changed = self.serve.changed()
            if not (running == {part.name for part in wanted} and self.serve.serving()):
                if found := problems(self.settings, running):
                    raise PreflightError("\n".join(found))
                self._start_all(wanted, running, started, trials)
            if lock is None and changed:  # The supervisor has the code of before.
                self._stop([SUPERVISOR])
                lock = self._supervisor_lock(supervised)
            if lock is not None and supervised:
                started.append(SUPERVISOR)
                self._start_supervisor(lock)
        except BaseException:
            if lock is not None:
                lock.close()
            if started:
                say("stopping what was started")
            with undisturbed():
                self._stop(list(reversed(started)))
            raise
        self.show()
        if lock is not None and supervised:
            lock.close()
            return None
        return lock

    def _start_all(self, wanted: list[StackPart], running: set[str], started: list[str], trials: int | None) -> None:
        """Start what is not in `running`, and name it in `started`; deploy, and train the first model."""
        self._prepare_folders()
        self._run("data", "data.prepare")
        self.settings = with_preset(self.settings)
        write_private(settings_file(self.settings), resolved_settings(self.settings))
        for part in wanted:
            if part.name not in running:
                started.append(part.name)
                self._start(part)
        self._run("code", "models.compile")  # while they start; trainings and replicas find the results on disk
        for part in wanted:
            self._wait_for(part, part.name in started)
        write_private(self.state_dir / "env", env_file(self.settings))
        self._run("features", "jobs.rebuild_features", "--if-empty")
        # What is popular can be asked for while the first model is being trained
        self.serve.deploy()
        self._first_model(trials)

    def down(self, itself: bool = False) -> bool:
        """Stop everything that was started, in order: the supervisor first, which would start it again. False if
        nothing was.

        Args:
            itself: whether this process is the supervisor.
        """
        if not self.records() and self.supervisor() is None:
            return False
        if itself:
            self._record_path(SUPERVISOR).unlink(missing_ok=True)
        self._stop([SUPERVISOR, *reversed(PART_NAMES)])
        for name in ("env", FILE_NAME):
            (self.state_dir / name).unlink(missing_ok=True)
        return True

    def parts(self) -> list[StackPart]:
        """What this stack runs, in the order of starting. Raises `NoServerError`."""
        return parts(self.settings)

    def start_again(self, name: str) -> None:
        """End what is left of a part, at once, and start it. Raises `NoServerError`."""
        if (record := self.records().get(name)) is not None:
            stop(record, QUICK_SWEEP_S, say)
        self._start(next(part for part in self.parts() if part.name == name))

    def supervisor(self) -> Record | None:
        """The supervisor that was started and not yet stopped, whether or not it still lives."""
        return Record.read(self._record_path(SUPERVISOR))

    def supervise_here(self) -> None:
        """Record this process as the supervisor."""
        Record.of_this_process(SUPERVISOR, str(self.state_dir / "logs" / f"{SUPERVISOR}.log")).save(
            self._record_path(SUPERVISOR)
        )

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
            "MLflow": f"{without_credentials(settings.tracking_uri)}  {self.mlflow_login()}",
            "for ray, serve": f"source {self.state_dir / 'env'}",
        }
        print()
        for name, value in rows.items():
            print(f"  {name:<16}{value}")
        print(f"\n  curl -s {self.serve.url}/api/v1/recommend {body}\n", flush=True)

    def mlflow_login(self) -> str:
        """What a person must know who opens the stack's own MLflow; empty where it asks nobody."""
        if not self.settings.own_tracking or tracking_login.password(self.state_dir) is None:
            return ""
        file = self.state_dir / tracking_login.FILE
        return f"(asks for the user {tracking_login.USER} and a password: cat {file})"

    def _some_user(self) -> int | str:
        """A user of the data set to ask for first."""
        import pyarrow.parquet as pq  # Here, since the supervisor, which stays, needs none of its memory.

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
        changed = sorted(_flat(old).items() ^ _flat(new).items())
        # The profile only decides what is deployed, which this `make up` does.
        if changed := [pair for pair in changed if pair[0] != "serving.profile"]:
            names = ", ".join(dict.fromkeys(name for name, _ in changed))
            if moved := dict.fromkeys(name for name, _ in changed if name.startswith(_WHERE)):
                raise PreflightError(f"the stack runs with another {', '.join(moved)}: run `make down` first")
            say(f"changed settings take effect after `make down` and `make up`: {names}")

    def _supervisor_lock(self, supervised: bool) -> FolderLock | None:
        """The supervisor's lock, or None while our supervisor holds it. Raises `PreflightError`."""
        try:
            make_private(self.state_dir)
        except NotPrivateError as error:
            raise PreflightError(str(error)) from None
        lock = FolderLock(self.state_dir / "supervisor.lock")
        holder, record = lock.holder(), self.supervisor()
        ours = holder.get("project", str(PROJECT_DIR)) == str(PROJECT_DIR)
        alive = [one for one in (record, *self.records().values()) if one is not None and one.alive()]
        if ours and not supervised and record is not None:
            self._stop([SUPERVISOR])
        taken = (ours or not alive) and lock.take("make up")
        if taken:
            return lock
        lock.close()
        if ours and record is not None and record.alive():
            return None
        raise PreflightError(
            f"{self.state_dir} holds the stack of {holder.get('project', 'another project')} on "
            f"{holder.get('host', 'another machine')} (pid {holder.get('pid', 'unknown')}): run `make down` there, "
            "or set RAYCOMMEND_STATE_DIR to a folder of its own"
        )

    def _start_supervisor(self, lock: FolderLock) -> None:
        """Start the supervisor, which inherits the lock, and wait until it looks."""
        log = self.state_dir / "logs" / f"{SUPERVISOR}.log"
        command = [sys.executable, "-m", "deployments.local", "watch", "--lock", str(lock.descriptor)]
        environment = stack_environment(self.settings)
        with deferred():
            record, _ = start(SUPERVISOR, command, environment, "", log, pass_fds=[lock.descriptor])
            record.save(self._record_path(SUPERVISOR))
        give_up = time.monotonic() + SUPERVISOR_START_S
        while (report := read_supervision(self.state_dir)) is None or report.pid != record.pid:
            if not record.alive():
                raise StartError("the supervisor ended at once", log)
            if time.monotonic() > give_up:
                raise StartError(f"the supervisor did not look within {SUPERVISOR_START_S:.0f} s", log)
            time.sleep(0.1)
        say(f"supervisor: watches them (pid {record.pid})")

    def _prepare_folders(self) -> None:
        make_private(self.settings.run_dir)
        for name in ("logs", "run", "store", "mlflow"):
            (self.state_dir / name).mkdir(exist_ok=True)
        mark_state_format(self.state_dir)
        make_token(self.settings.token_path)
        write_private(settings_file(self.settings), resolved_settings(self.settings, with_data=False))

    def _start(self, part: StackPart) -> None:
        if part.name == "store":
            store_users.prepare(self.state_dir, self.settings.store.prefix)
        if part.name == "mlflow":
            tracking_login.prepare(self.state_dir)
            bring_tracking_database_up(self.state_dir, say)
        if part.name == "ray":
            self.serve.ray_starts()
            clear_run_folder(self.settings.run_dir)
        log = self.state_dir / "logs" / f"{part.name}.log"
        with deferred():
            environment = {**stack_environment(self.settings), **part.environment}
            record, _ = start(part.name, part.command, environment, part.address, log)
            record.save(self._record_path(part.name))

    def _wait_for(self, part: StackPart, started: bool) -> None:
        record = self.records()[part.name]
        give_up = time.monotonic() + part.start_s
        while not part.ready():
            if not record.alive():
                raise StartError(f"{part.name} ended at once", Path(record.log))
            if time.monotonic() > give_up:
                raise StartError(f"{part.name} was not ready within {part.start_s:.0f} s", Path(record.log))
            time.sleep(0.1)
        if started:
            say(f"{part.name}: {part.address} (pid {record.pid}, {time.time() - record.started_at:.1f} s)")

    def _first_model(self, trials: int | None) -> None:
        """Train a first model if there is none, and wait until the replicas serve it."""
        options = [] if trials is None else ["--trials", str(trials)]
        say(f"{self.serve.url} answers; without a model, with what is popular")
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
            record = self.supervisor() if name == SUPERVISOR else self.records().get(name)
            if record is None:
                continue
            if name == SUPERVISOR:
                end(record, SUPERVISOR_END_S, say)  # It alone: what it has started again came of it, too.
            else:
                if name == "ray" and record.alive():
                    self.serve.drain()
                stop(record, known[name].stop_s if name in known else 30.0, say)
            self._record_path(name).unlink(missing_ok=True)
            say(f"{name}: stopped")

    def _record_path(self, name: str) -> Path:
        return self.state_dir / "run" / f"{name}.json"


def say(text: str) -> None:
    print(text, flush=True)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{"ports": {"http": 1}} -> {"ports.http": "1"}."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return flat

"""Starts, shows and stops the whole platform on one machine: `python -m deployments.local up`.

The stack's own processes are the online store, MLflow and Ray's head. Everything else runs inside Ray. What was
started is recorded in the state folder, and `down` ends exactly that. A supervisor, a process of its own, starts again
what dies in between.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import NoReturn

import yaml

from configs.settings import PROJECT_DIR, Settings, SettingsError, load_settings
from configs.supervision import read_supervision
from configs.versions.formats import FormatError
from deployments.local.alarm import Alarm
from deployments.local.folder_lock import SUPERVISOR, FolderInUseError, FolderLock, changing
from deployments.local.probes import UnansweredError
from deployments.local.ray_environment import client_environment, cluster_flags
from deployments.local.stack import PART_NAMES, LocalStack, PreflightError, say
from deployments.local.stack_parts import NoServerError, StartError
from deployments.local.supervisor import Supervisor, watched_parts
from deployments.local.systemd import tell_systemd

PROMETHEUS_DIR = PROJECT_DIR / "configs" / "prometheus"


def status(stack: LocalStack) -> int:
    """Print the state of each part. 0 if all is well, 1 if something is not, 3 if nothing runs."""
    records = stack.records()
    if not records:
        say("nothing is running; start with: make up")
        return 3
    well = True
    for name in PART_NAMES:
        if record := records.get(name):
            well &= record.alive()
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started_at))
            state = f"running since {since}, pid {record.pid}" if record.alive() else f"ended; its log: {record.log}"
            say(f"{name:<12}{record.address:<36}{state}")
            if name == "mlflow" and (login := stack.mlflow_login()):
                say(f"{'':<12}{login}")
        else:
            say(f"{name:<12}not ours")
    report = read_supervision(stack.state_dir)
    well &= report is not None and report.watching and not report.troubles
    nobody = "nobody watches: `make up` starts the supervisor"
    say(f"{SUPERVISOR:<12}{report.text if report is not None else nobody}")
    for trouble in report.troubles.values() if report is not None else ():
        if trouble.log_end:
            say(f"{'':<12}the end of its log:\n{trouble.log_end}")
    try:
        for name, state in stack.serve.states().items():
            well &= state == "RUNNING"
            say(f"{name:<12}{stack.serve.url:<36}{state}")
    except UnansweredError as error:
        say(f"{'serve':<12}{stack.serve.url:<36}does not answer ({error})")
        well = False
    ready = stack.serve.ready()
    say(f"{'ready':<12}{stack.serve.url + '/health/ready':<36}{'yes' if ready else 'no'}")
    return 0 if well and ready else 1


def logs(stack: LocalStack, lines: int) -> int:
    """Print the ends of all logs, and where Ray keeps its own."""
    for log in sorted((stack.state_dir / "logs").glob("*.log")):
        with log.open(errors="replace") as file:
            end = deque(file, lines)
        say(f"== {log}\n{''.join(end).rstrip()}\n")
    say(f"== Ray's own: {stack.settings.run_dir / 'ray' / 'session_latest' / 'logs'}")
    return 0


def run(stack: LocalStack, words: list[str]) -> int:
    """Run a command that speaks to the running stack; its exit code."""
    record = stack.records().get("ray")
    if record is None or not record.alive():
        raise PreflightError("nothing is running; start with: make up")
    command = words[1:] if words[:1] == ["--"] else words
    return subprocess.run(command, cwd=PROJECT_DIR, env=client_environment(stack.settings), check=False).returncode


def prometheus(stack: LocalStack) -> NoReturn:
    """Become Prometheus, on the loopback address, until it is interrupted."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise PreflightError("there is no `prometheus` on PATH (Debian, Ubuntu: apt install prometheus)")
    folder = stack.state_dir / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(scrape_config(stack.settings))
    shutil.copy(PROMETHEUS_DIR / "alerts.yml", folder / "alerts.yml")
    address = f"127.0.0.1:{stack.settings.ports.prometheus}"
    say(f"Prometheus: http://{address}/alerts (Ctrl-C ends it)")
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    # Prometheus takes the place of this process, so that whatever ends this process ends Prometheus.
    os.execv(binary, [binary, *options, f"--web.listen-address={address}"])  # noqa: S606


def scrape_config(settings: Settings) -> str:
    """`configs/prometheus/prometheus.yml` with the ports of the settings."""
    config = yaml.safe_load((PROMETHEUS_DIR / "prometheus.yml").read_text())
    ports = {
        "raycommend": settings.ports.http,
        "ray": settings.ports.metrics,
        "haproxy": settings.ports.haproxy_metrics,
    }
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    return yaml.safe_dump(config, sort_keys=False)


def clean(stack: LocalStack, confirmed: bool) -> int:
    """Remove everything that the stack wrote."""
    supervisor = stack.supervisor()
    if any(record.alive() for record in stack.records().values()) or (supervisor is not None and supervisor.alive()):
        raise PreflightError("the stack is running: run `make down` first")
    say(f"This removes {stack.state_dir}: events, features, models, experiments and logs. The data set stays.")
    if not confirmed and input("Remove all that? Type yes: ").strip() != "yes":
        say("nothing was removed")
        return 1
    for folder in (stack.state_dir, stack.settings.run_dir):
        shutil.rmtree(folder, ignore_errors=True)
    say("removed")
    return 0


def watch(stack: LocalStack, lock: FolderLock) -> None:
    """Be the supervisor until this process is told to end."""
    lock.sign(SUPERVISOR)

    def note(text: str) -> None:
        with contextlib.suppress(OSError):  # A full disk must not end it.
            say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    alarm = Alarm(stack.settings.alerts, note)
    Supervisor(watched_parts(stack), stack.state_dir, alarm, note, on_look=lambda: tell_systemd("WATCHDOG=1")).run()


def supervise(stack: LocalStack, trials: int | None) -> None:
    """Start the stack, be its supervisor, and take it down when this process is told to end."""
    with changing(stack.state_dir, "make up"):
        lock = stack.up(trials, supervised=False)
        stack.supervise_here()
    assert lock is not None
    tell_systemd("READY=1")
    watch(stack, lock)
    tell_systemd("STOPPING=1")
    # Where a `make down` has ended this process, it holds the lock and does the rest.
    with contextlib.suppress(FolderInUseError), changing(stack.state_dir, "make down", patience_s=0):
        stack.down(itself=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything").add_argument("--trials", type=int, default=None)
    supervise_parser = commands.add_parser(
        "supervise", help="start everything, watch it in the foreground, and stop it"
    )
    supervise_parser.add_argument("--trials", type=int, default=None)
    watch_parser = commands.add_parser("watch", help="what `up` starts as the supervisor")
    watch_parser.add_argument("--lock", type=int, required=True, help="number of the open, locked file")
    commands.add_parser("serve-config", help="print what is deployed, for a Ray that runs elsewhere")
    commands.add_parser("ray-flags", help="print Ray's flags for a shell whose Ray belongs to a cluster")
    commands.add_parser("down", help="stop what was started")
    commands.add_parser("status", help="show what runs")
    commands.add_parser("logs", help="show the ends of the logs").add_argument("--lines", type=int, default=30)
    commands.add_parser("clean", help="remove the state").add_argument("--yes", action="store_true")
    commands.add_parser("prometheus", help="run Prometheus beside the stack, in the foreground")
    run_parser = commands.add_parser("run", help="run a command with the environment of the running stack")
    run_parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o077)  # What the parts write is for the owner alone: users, events, tokens.
    try:
        stack = LocalStack(load_settings())
        if options.command == "serve-config":
            sys.stdout.write(stack.serve.rendered())
            return 0
        if options.command == "ray-flags":
            for name, value in cluster_flags(stack.settings).items():
                print(f"export {name}={shlex.quote(value)}")
            return 0
        if options.command == "status":
            return status(stack)
        if options.command == "logs":
            return logs(stack, options.lines)
        if options.command == "run":
            return run(stack, options.words)
        if options.command == "prometheus":
            prometheus(stack)
        if options.command == "watch":
            watch(stack, FolderLock.inherited(options.lock))
            return 0
        stack.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if options.command == "supervise":
            supervise(stack, options.trials)
            return 0
        with changing(stack.state_dir, f"make {options.command}"):
            if options.command == "clean":
                return clean(stack, options.yes)
            if options.command == "up":
                stack.up(options.trials)
            elif not stack.down():
                say("nothing is running")
    except (PreflightError, FolderInUseError, NoServerError, SettingsError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except FormatError as error:
        print(f"\nRaycommend did not start: {error}", file=sys.stderr)
        return 1
    except StartError as error:
        print(f"\nRaycommend did not start: {error}", file=sys.stderr)
        if error.log:
            print(f"The end of {error.log}:\n{_tail(error.log)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # Who read along, such as `head`, has enough. Python would fail once more at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


def _tail(log: Path, lines: int = 15) -> str:
    with log.open(errors="replace") as file:
        return "".join(deque(file, lines)).rstrip()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

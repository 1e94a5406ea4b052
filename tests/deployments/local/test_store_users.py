"""Users of the stack's own store: what each role may, on the real servers, and where its password is."""

import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from configs import store_users
from configs.event_types import load_event_types
from configs.settings import PROJECT_DIR, Settings, load_settings
from configs.store_users import ACL_FILE, PASSWORDS, ROLES, StoreRole, acl, passwords, prepare
from data.event_log import EventLog
from deployments.local.probes import store_answers
from deployments.local.ray_environment import client_environment, env_file, resolved_settings, stack_environment
from deployments.local.stack_parts import parts
from features.recording.event import Event
from features.recording.online_store import OnlineStore
from features.redis.connection import connect, durability
from features.redis.layout import keys_of
from features.users.erasure import erase_user
from tests.features.servers import DURABLE, Server, free_ports, redis_binary, valkey_binary

ROOT = "user default on nopass ~* &* +@all\n"


@pytest.fixture(scope="module", params=["valkey", "redis"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The stack's own store with its users; only that here the default user may look at everything."""
    folder = tmp_path_factory.mktemp("users")
    [port] = free_ports(1)
    prepare(folder, "rc")
    text = (folder / ACL_FILE).read_text()
    (folder / "test.acl").write_text(ROOT + "".join(text.splitlines(keepends=True)[1:]))
    binary = valkey_binary() if request.param == "valkey" else redis_binary()
    server = Server(binary, folder / "store", (*DURABLE, "--aclfile", str(folder / "test.acl")), port)
    yield Settings(state_dir=folder, ports={"store": port})
    server.stop()


def client_of(settings: Settings, role: StoreRole) -> redis.Redis:
    return redis.Redis.from_url(settings.store_url_of(role))


@pytest.mark.parametrize("role", ROLES)
def test_no_role_empties_stops_or_changes_the_server_or_reads_other_keys(served: Settings, role: StoreRole) -> None:
    with client_of(served, role) as client:
        assert client.set("rc:{control}:x", "1")
        for command in (
            ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "SET", "dir", "/"), ("CONFIG", "REWRITE"),
            ("SHUTDOWN",), ("ACL", "LIST"), ("ACL", "SETUSER", "x"), ("MONITOR",),
            ("SCRIPT", "FLUSH"), ("MODULE", "LIST"), ("REPLICAOF", "127.0.0.1", "1"), ("SAVE",),
            ("CLIENT", "KILL", "x"), ("FAILOVER",), ("MIGRATE", "h", "1", "k", "0", "1"),
            ("GET", "other"), ("SET", "other", "1"),
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_without_a_password_nobody_is_served(tmp_path: Path) -> None:
    prepare(tmp_path, "rc")
    [port] = free_ports(1)
    settings = Settings(state_dir=tmp_path, ports={"store": port})
    [store] = [part for part in parts(settings) if part.name == "store"]
    (tmp_path / "store").mkdir()
    with subprocess.Popen(store.command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while not store_answers(settings):
                assert process.poll() is None
                assert time.monotonic() < deadline
            for url in (f"redis://127.0.0.1:{port}/0", f"redis://serving:guess@127.0.0.1:{port}/0"):
                with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.AuthenticationError):
                    client.get("rc:x")
            arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
            assert not [password for password in passwords(tmp_path).values() if password in arguments]
        finally:
            process.terminate()


@pytest.mark.anyio
async def test_each_role_may_what_its_functions_do(served: Settings, tmp_path: Path) -> None:
    """Nothing is refused on the way: what the server refused stands in its own log of that."""
    keys, types = keys_of(served.store), load_event_types()
    serving, jobs, console = (
        connect(served.store, served.store_url_of(role)) for role in ("serving", "jobs", "console")
    )
    with redis.Redis(port=served.ports.store) as root:
        root.execute_command("ACL", "LOG", "RESET")
    store = OnlineStore(serving, keys, served.store, types)
    await store.prepare()
    await store.record_events([Event("e1", "ada", "i", "click", 1, None, 1)])
    [user] = await store.read_users(["ada"])
    assert user.counters(types) == {"click": 1}
    assert (await durability(console)).durable
    await erase_user(OnlineStore(jobs, keys, served.store, types), EventLog(tmp_path), "ada")
    for client in (serving, jobs, console):
        await client.aclose()
    with redis.Redis(port=served.ports.store) as root:
        assert root.execute_command("ACL", "LOG") == []


WORD = re.compile(r"""(?:\(|call\()["']([A-Z]{3,}(?: [A-Z]+)?)["']""")


def used(*folders: str) -> set[str]:
    """Commands of the server that code names."""
    found = set()
    for folder in folders:
        for file in (PROJECT_DIR / folder).rglob("*"):
            if file.suffix in (".py", ".lua"):
                found |= set(WORD.findall(file.read_text()))
    return {word.lower().replace(" ", "|") for word in found}


def test_every_command_that_the_code_sends_is_allowed_to_somebody(served: Settings) -> None:
    with redis.Redis(port=served.ports.store) as root:
        there = {name.decode() for name in root.execute_command("COMMAND LIST")}
    sent = {name for name in used("features") if name.partition("|")[0] in there}
    assert len(sent) > 30
    allowed = set(store_users._BY_ROLE["console"].split())
    # The stack's own store has no copies to wait for and no slots that move.
    assert sent - {"asking", "eval", "wait"} <= allowed
    scripts = {name for name in used("features/redis/lua") if name.partition("|")[0] in there}
    assert scripts - {"xdel"} <= set(store_users._BY_ROLE["serving"].split())


def test_passwords_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    prepare(tmp_path, "rc")
    first = passwords(tmp_path)
    assert set(first) == set(ROLES)
    assert min(map(len, first.values())) >= 40
    prepare(tmp_path, "rc")
    assert passwords(tmp_path) == first
    for name in (PASSWORDS, ACL_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert not [password for password in first.values() if password in (tmp_path / ACL_FILE).read_text()]
    assert "user default off" in acl(first, "rc")
    # A role that a later version adds gets one, and the others keep theirs.
    (tmp_path / PASSWORDS).write_text('{"serving": "kept"}')
    prepare(tmp_path, "rc")
    assert passwords(tmp_path)["serving"] == "kept"
    assert set(passwords(tmp_path)) == set(ROLES)


def test_a_state_folder_from_before_has_none_until_its_store_starts(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert settings.store_url_of("jobs") == "redis://127.0.0.1:6390/0"
    prepare(tmp_path, "rc")
    assert settings.store_url_of("jobs").startswith("redis://jobs:")
    outside = Settings(state_dir=tmp_path, store={"url": "rediss://shop:secret@store.example:6379/0"})
    assert outside.store_url_of("jobs") == "rediss://shop:secret@store.example:6379/0"


def test_a_person_has_the_password_in_the_shell_and_nobody_in_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, "rc")
    settings, secret = Settings(state_dir=tmp_path), passwords(tmp_path)
    sourced = env_file(settings)
    assert f"export REDISCLI_AUTH={secret['person']}" in sourced
    assert client_environment(settings)["REDIS_URL"] == settings.store_url_of("person")
    for text in (resolved_settings(settings), str(settings), str(stack_environment(settings))):
        assert not [password for password in secret.values() if password in text]
    # What is started from such a shell takes the role that it has, and hands the password to nobody.
    monkeypatch.setenv("RAYCOMMEND_STATE_DIR", str(tmp_path))
    for name in ("REDIS_URL", "REDISCLI_AUTH"):
        monkeypatch.setenv(name, client_environment(settings)[name])
    again = load_settings()
    assert again.own_store
    assert again.store_url_of("jobs") == settings.store_url_of("jobs")
    for text in (resolved_settings(again), str(again), str(stack_environment(again))):
        assert not [password for password in secret.values() if password in text]
    assert os.environ["REDISCLI_AUTH"] == secret["person"]

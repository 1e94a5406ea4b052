"""The API key of jobs that speak to the running system, against the guard that serves."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from configs.settings import Settings
from deployments.access import limits
from deployments.http.api_keys import make_key
from jobs.evaluate import replay
from jobs.simulate import demo, simulate
from tests.deployments.access.gates import keyed
from tests.jobs.job_data import two_tastes, write_interactions

FULL, FULL_KEPT = make_key("both", ["recommend", "events"], 99)
LISTS, LISTS_KEPT = make_key("lists", ["recommend"], None)
SHOWN = {"recommendations": [{"item_id": 7}], "recommendation_id": "r", "variant": "champion", "model_version": "v"}


class System:
    """What answers behind the guard."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.made = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        body = orjson.dumps({**SHOWN, "degraded": False, "latency_ms": 1.0})
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    async def count(self, name: str, number: int) -> int:
        """The key's limit is reached once, by its second request."""
        self.made += 1
        return 10_000 if self.made == 2 else 1


@pytest.fixture
def system() -> Iterator[tuple[System, int]]:
    found = System()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    guard = keyed(found, [FULL_KEPT, LISTS_KEPT], found.count)
    server = uvicorn.Server(uvicorn.Config(guard, port=port, log_level="error", lifespan="off", interface="asgi3"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield found, port
    server.should_exit = True
    thread.join()


@pytest.fixture
def run(
    system: tuple[System, int], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str | None], int]:
    """A job's main against the system, with a key in its environment."""
    write_interactions(settings, two_tastes(n_users=20, n_items=120, per_user=45))
    here = settings.model_copy(update={"ports": settings.ports.model_copy(update={"http": system[1]})})
    for job in (demo, replay, simulate):
        monkeypatch.setattr(job, "load_settings", lambda: here)
    arguments: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
        "demo": (demo.main, []),
        "replay": (replay.main, ["--dataset", str(settings.data_dir), "--out", str(tmp_path / "out"), "--limit", "3"]),
        "simulate": (simulate.main, ["--users", "1", "--lists", "1"]),
    }

    def call(job: str, key: str | None) -> int:
        monkeypatch.delenv("RAYCOMMEND_API_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("RAYCOMMEND_API_KEY", key)
        main, given = arguments[job]
        return main(given)

    return call


@pytest.mark.parametrize("job", ["demo", "replay", "simulate"])
@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, ("401, an API key is needed", "set RAYCOMMEND_API_KEY to an API key")),
        ("rk_wrong", ("401, this API key is not known here", "the key in RAYCOMMEND_API_KEY does not do")),
        (LISTS, ("403, this needs the scope", "the key in RAYCOMMEND_API_KEY does not do")),
    ],
    ids=["no key", "an unknown key", "a scope that does not reach"],
)
def test_what_is_wrong_with_the_key_is_said(
    run: Callable[[str, str | None], int],
    capsys: pytest.CaptureFixture,
    job: str,
    key: str | None,
    words: tuple[str, ...],
) -> None:
    assert run(job, key) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{job}: ")
    assert error.count("\n") == 1
    for part in words:
        assert part in error
    assert "rk_" not in error  # neither a key nor the beginning of one


@pytest.mark.parametrize("job", ["replay", "simulate"])
def test_the_key_is_sent_and_its_limit_waited_for(
    run: Callable[[str, str | None], int], system: tuple[System, int], monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr(limits, "WINDOW_S", 1)
    started = time.monotonic()
    assert run(job, FULL) == 0
    # The refused request was made again, once the answer's Retry-After was over.
    assert system[0].made == len(system[0].paths) + 1
    assert time.monotonic() - started >= 1.0
    assert "/api/v1/recommend" in system[0].paths
    assert any(path.startswith("/api/v1/events") for path in system[0].paths)

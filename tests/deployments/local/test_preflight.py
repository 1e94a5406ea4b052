import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import Settings
from deployments.local import preflight
from deployments.local.preflight import available_memory_gb, problems, taken_ports


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def with_port(settings: Settings, name: str, port: int) -> Settings:
    return settings.model_copy(update={"ports": settings.ports.model_copy(update={name: port})})


def test_nothing_stands_in_the_way_here(idle_settings: Settings) -> None:
    assert problems(idle_settings, running=set()) == []


@pytest.mark.parametrize("name", ["http", "store", "mlflow", "gcs", "dashboard", "haproxy_stats"])
def test_a_taken_port_is_named_with_its_holder_and_a_way_out(idle_settings: Settings, listener: int, name: str) -> None:
    (line,) = taken_ports(with_port(idle_settings, name, listener), set())
    assert re.fullmatch(
        rf"port {listener} is taken by pid \d+ \(python[\d.]*\): stop it, or choose another with "
        rf"RAYCOMMEND_PORTS_{name.upper()}={listener + 1}",
        line,
    )


def test_a_port_that_our_own_part_holds_is_no_problem(idle_settings: Settings, listener: int) -> None:
    assert taken_ports(with_port(idle_settings, "store", listener), running={"store"}) == []


def test_a_port_inside_a_range_is_refused(idle_settings: Settings) -> None:
    (line,) = taken_ports(with_port(idle_settings, "http", idle_settings.ports.workers + 500), set())
    assert "lies in the range of workers" in line
    assert "RAYCOMMEND_PORTS_HTTP" in line


def test_an_outside_store_must_answer_and_its_password_stays_secret(idle_settings: Settings) -> None:
    store = idle_settings.store.model_copy(update={"url": "redis://:secret@127.0.0.1:1/0"})
    (line,) = problems(idle_settings.model_copy(update={"store": store}), set())
    assert line == "nothing answers at REDIS_URL=redis://127.0.0.1:1/0: start it, or unset it"


def test_an_outside_registry_must_answer(idle_settings: Settings) -> None:
    tracking = idle_settings.tracking.model_copy(update={"uri": "http://127.0.0.1:1"})
    (line,) = problems(idle_settings.model_copy(update={"tracking": tracking}), set())
    assert line.startswith("nothing answers at MLFLOW_TRACKING_URI=http://127.0.0.1:1")


def test_a_long_temporary_folder_is_refused(
    idle_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    (line,) = problems(idle_settings, set())
    assert "set TMPDIR to a shorter folder" in line


def test_too_little_memory_and_disk_are_told_with_numbers(
    idle_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "MEMORY_GB", 1e6)
    monkeypatch.setattr(preflight, "DISK_GB", 1e9)
    lines = problems(idle_settings, set())
    assert re.match(r"[\d.]+ GB of memory are available and 1000000 are needed", lines[0])
    assert all(re.match(r"[\d.]+ GB are free on the disk of /", line) for line in lines[1:])
    assert len(lines) >= 2


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux tells")
def test_available_memory_is_less_than_what_the_machine_has() -> None:
    total_kb = int(Path("/proc/meminfo").read_text().split()[1])
    available = available_memory_gb()
    assert available is not None
    assert 0 < available <= total_kb * 1024 / 1e9

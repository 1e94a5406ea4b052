from pathlib import Path

import pytest

from benchmarks.scale.measured_run import run

_CHILD = "b = bytearray(300_000_000); import signal; signal.pause()"
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_CHILD!r}])"


def test_a_step_is_stopped_for_what_its_children_take(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"greedy was stopped beyond 0.2 GB: .* peak 0\.\d\d GB"):
        run("greedy", ["-c", _PARENT], tmp_path / "none.yaml", limit_gb=0.2)


def test_what_a_step_took_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    taking = "b = bytearray(100_000_000); import time; time.sleep(1.5); print(sum(range(3_000_000)))"
    used = run("counting", ["-c", taking], tmp_path / "none.yaml")
    assert used.processor_s > 0
    assert 0.1 < used.peak_gb < 0.3, "and not what the process that started it holds"
    assert f"counting: {used}" in capfd.readouterr().out


def test_a_failure_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="broken failed"):
        run("broken", ["-c", "raise SystemExit(3)"], tmp_path / "none.yaml")

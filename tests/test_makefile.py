"""What `make` hands on to the commands behind it."""

import subprocess

from configs.settings import PROJECT_DIR


def commands(*arguments: str) -> str:
    """What `make` would run."""
    return subprocess.run(
        ["make", "--dry-run", *arguments], cwd=PROJECT_DIR, capture_output=True, text=True, check=True, timeout=30
    ).stdout


def test_a_retraining_may_be_forced_over_the_gate() -> None:
    assert "jobs.retrain --trials 3 --force\n" in commands("retrain", "FORCE=yes", "TRIALS=3")
    assert "--force" not in commands("retrain") + commands("retrain", "FORCE=no")


def test_what_kills_parts_of_a_stack_is_left_out_of_the_quick_tests_alone() -> None:
    quick, faults, everything = commands("test"), commands("test-faults"), commands("test-all")
    assert '-m "not matrix and not faults"' in quick
    assert "pytest -n 3 -m faults tests\n" in faults
    assert '-m "not' not in everything

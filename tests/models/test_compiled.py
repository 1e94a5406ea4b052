import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs.settings import PROJECT_DIR
from models.compiled import compile_all, compiled, inner, reads, writes


@inner
def _twice(value: float) -> float:
    return 2 * value


@compiled(reads("f4"), writes("f8"))
def double(values: np.ndarray, out: np.ndarray) -> None:
    """Into `out`: twice the values."""
    for place in range(len(values)):
        out[place] = _twice(values[place])


def test_it_computes_and_keeps_name_and_meaning() -> None:
    out = np.empty(2)
    double(np.array([1, 2], np.float32), out)
    double(np.frombuffer(np.array([1, 2], np.float32).tobytes(), np.float32), out)  # read-only
    assert out.tolist() == [2, 4]
    assert (double.__name__, double.__doc__) == ("double", "Into `out`: twice the values.")


def test_other_types_are_refused_and_not_compiled_for() -> None:
    """Compiling takes seconds: in a request that would be an outage."""
    compile_all()
    for wrong in (np.zeros(2), np.zeros((2, 2), np.float32), np.zeros(4, np.float32)[::2], [1.0]):
        with pytest.raises(TypeError):
            double(wrong, np.empty(2))


def test_where_results_cannot_be_kept_it_compiles_all_the_same() -> None:
    """As on a read-only disk: numba finds no place beside a source that is no file."""
    namespace: dict[str, object] = {}
    exec("def add(values, out):\n    out[0] = values[0] + values[1]", namespace)
    out = np.empty(1)
    compiled(reads("f4"), writes("f8"))(namespace["add"])(np.array([1, 2], np.float32), out)  # type: ignore[operator,type-var]
    assert out.tolist() == [3]


def test_the_command_compiles_every_function_of_the_models() -> None:
    sources = [path.read_text() for path in (PROJECT_DIR / "models").rglob("*.py")]
    written = sum(len(re.findall(r"^@compiled\(", source, re.MULTILINE)) for source in sources)
    # As on a machine without what is optional: `make up` begins with this command.
    run = "import runpy, sys; sys.modules['jax'] = None; runpy.run_module('models.compile', run_name='__main__')"
    command = [sys.executable, "-c", run]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert written > 5
    assert done.stdout.startswith(f"code: {written} functions compiled (")


COMPILES = """
import sys
from tests.models.test_compiled import double
dispatcher = next(one.cell_contents for one in double.__closure__ if hasattr(one.cell_contents, "stats"))
print("ready", flush=True)
sys.stdin.readline()
from models.compiled import compile_all
compile_all()
print(sum(dispatcher.stats.cache_misses.values()), flush=True)
"""


def test_of_two_processes_that_start_together_one_compiles(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILES],
            cwd=PROJECT_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    answers = [one.communicate(timeout=120)[0] for one in both]
    assert sorted(map(int, answers)) == [0, 1]

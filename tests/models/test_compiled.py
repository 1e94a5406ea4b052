import re
import subprocess
import sys

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
    command = [sys.executable, "-m", "models.compile"]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert written > 5
    assert done.stdout.startswith(f"code: {written} functions compiled (")

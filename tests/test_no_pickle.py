"""No module of ours reads or writes a pickle: reading one runs whatever it says."""

import ast
from pathlib import Path

import pytest

from configs.settings import PROJECT_DIR

PARTS = ("benchmarks", "clients", "configs", "data", "deployments", "experiments", "features", "jobs", "models")
READERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}
SOURCES = [path for part in PARTS for path in sorted((PROJECT_DIR / part).rglob("*.py"))]


def faults(source: str) -> list[str]:
    """What in a module would read a pickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("read_pickle", "to_pickle", "__import__"):
                found.append(f"line {node.lineno}: {called}")
            given = {one.arg: ast.unparse(one.value) for one in node.keywords}
            if given.get("allow_pickle", "False") != "False":
                found.append(f"line {node.lineno}: allow_pickle")
            if (
                called == "load"
                and ast.unparse(node.func).startswith(("np.", "numpy."))
                and "allow_pickle" not in given
            ):
                found.append(f"line {node.lineno}: np.load without allow_pickle=False")
        found += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] in READERS or
                  any(name.endswith(f".{reader}") for reader in READERS)]  # fmt: skip
    return found


@pytest.mark.parametrize("source", [
    "import pickle", "from ray import cloudpickle", "import joblib.memory", "np.load(f, allow_pickle=True)",
    "np.load(f)", "pd.read_pickle(f)", "__import__('pickle')",
])  # fmt: skip
def test_each_way_is_noticed(source: str) -> None:
    assert faults(source)


def test_no_module_reads_a_pickle() -> None:
    assert len(SOURCES) > 300
    found = {str(path.relative_to(PROJECT_DIR)): faults(path.read_text()) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_what_looks_at_the_sources_looks_at_all_of_them() -> None:
    packages = {path.parent.name for path in Path(PROJECT_DIR).glob("*/__init__.py")} - {"tests", "docs"}
    assert packages <= set(PARTS)

"""Modules that have moved: whoever types or imports an old name is told the new one.

Each package that lost modules calls `tell_moves` once. Nothing else depends on this file, and it goes with the next
version.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_TABLE = Path(__file__).with_suffix(".yaml")
_PACKAGES = {"benchmarks", "data", "deployments", "experiments", "features", "jobs", "models"}


class _Moves:
    """An import finder that comes last, so it is asked only for what does not exist. It finds nothing and explains."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in _PACKAGES:
            return None
        import yaml  # where it is missing, as for the proxy's launcher, all other imports still work

        moved = yaml.safe_load(_TABLE.read_text()).get(name)
        if moved is not None:
            raise ModuleNotFoundError(f"{name} is {moved} now", name=name)
        return None


def tell_moves() -> None:
    """Explain old names from now on, in this process."""
    if not any(isinstance(finder, _Moves) for finder in sys.meta_path):
        sys.meta_path.append(_Moves())

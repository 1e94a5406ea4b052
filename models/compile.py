"""`python -m models.compile`: compile all that numba compiles here, for the processes that start next.

On a fresh installation that takes nine seconds of a core, which `make up` spends while store, MLflow and Ray start; the
first training and the replicas would wait for it otherwise.
"""

import importlib
import time
from pathlib import Path

from models.compiled import compile_all

FOLDER = Path(__file__).parent


def import_what_is_compiled() -> None:
    """Import the modules whose source uses `models.compiled`. Others may need packages that are optional."""
    for file in sorted(FOLDER.rglob("*.py")):
        if "from models.compiled import" in file.read_text() and file != Path(__file__):
            importlib.import_module(".".join(["models", *file.relative_to(FOLDER).with_suffix("").parts]))


if __name__ == "__main__":
    begun = time.monotonic()
    import_what_is_compiled()
    print(f"code: {compile_all()} functions compiled ({time.monotonic() - begun:.1f} s)")

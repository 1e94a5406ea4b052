"""`python -m models.compile`: compile all that numba compiles here, for the processes that start next.

Of several that start at once on a fresh installation, each would compile for itself, which takes nine seconds of a
core: the first training and two replicas.
"""

import importlib
import pkgutil
import time

import models
from models.compiled import compile_all

if __name__ == "__main__":
    begun = time.monotonic()
    for module in pkgutil.walk_packages(models.__path__, "models."):
        if module.name != __spec__.name:
            importlib.import_module(module.name)
    print(f"code: {compile_all()} functions compiled ({time.monotonic() - begun:.1f} s)")

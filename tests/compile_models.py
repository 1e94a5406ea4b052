"""`python -m tests.compile_models`: compile whatever numba compiles in `models/`, and leave the results on disk."""

import importlib
import pkgutil

import models
from models.compiled import compile_all

if __name__ == "__main__":
    for module in pkgutil.walk_packages(models.__path__, "models."):
        importlib.import_module(module.name)
    compile_all()

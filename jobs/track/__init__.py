"""The stack's own MLflow: `login` asks whoever comes for user and password.

MLflow finds `login` by the entry point in `plugin`, which stands on its `PYTHONPATH` alone: as `--app-name
raycommend-login`, the way that MLflow has for this.
"""

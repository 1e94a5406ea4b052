"""On the `PYTHONPATH` of the stack while its clock is set: Python imports `sitecustomize` by itself."""

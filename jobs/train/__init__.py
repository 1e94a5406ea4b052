"""Training: data set and log -> parameters (`tune`) -> bundle (`fit_bundle`) -> verdict of the gate (`retrain`) ->
registry and slot (`publish`).
"""

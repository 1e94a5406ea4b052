"""Training: data set and log -> parameters (`tune`) -> bundle (`fit_bundle`) -> gate -> registry and slot
(`retrain`).
"""

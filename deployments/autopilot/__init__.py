"""Autopilot: streams -> judged lists (`list_judge`) -> drift (`drift_watch`) -> retraining -> watched promotion.

`autopilot` looks every few seconds and does what is due. `autopilot_memory` is what it keeps between two looks. A
retrained model may have to win a `live_trial`, a promoted one is watched by `promotion_guard`, and what is wrong
becomes an alert.
"""

"""Interactions -> `training_data` -> `past_requests` -> `first_stage` (candidates) -> `ranker_lists` ->
`ranker_windows`.

`ranker_judgement` learns the ranker and judges it on the latest window; `shown_lists` are lists that were really shown.
"""

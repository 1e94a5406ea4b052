"""What only batches use: `python -m jobs.evaluate --train` and protocol P1. Serving answers no request with it yet.

A second stage for lists made ahead of time, learned from random splits:

First stage -> `side_scores` and `nearness` (what other models think of its candidates) -> `list_ranker` -> lists.
"""

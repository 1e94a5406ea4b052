"""A second stage for lists made ahead of time, learned from random splits; no request is answered by it yet.

First stage -> `side_scores` and `nearness` (what other models think of its candidates) -> `list_ranker` -> lists.
"""

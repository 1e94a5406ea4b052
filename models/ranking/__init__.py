"""Candidates -> `features` (compiled in `block`) -> `ranker` (trees in `forest`) -> scores -> `diversity`."""

"""Candidates -> `features` (compiled in `candidate_block`) -> `ranker` (trees in `forest`) -> scores -> `diversity`."""

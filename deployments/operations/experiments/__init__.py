"""Experiments: request -> `control` (their life) -> store; sums -> `results` -> `views` -> `routes`."""

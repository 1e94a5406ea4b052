"""Lists and what was right -> `metrics` -> `protocols`, `held_out` and `gate`; `baselines` have to be beaten."""

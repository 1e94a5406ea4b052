"""A model on disk: arrays and a `manifest` -> `files` (written aside, renamed, verified before use)."""

"""Ray jobs. Each is a module run as `python -m jobs.NAME`."""

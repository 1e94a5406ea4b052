"""Looking at tables before they are imported: `python -m jobs.inspect_data`."""

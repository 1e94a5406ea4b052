"""Lists made ahead of time: bundle or file of interactions -> lists for all users -> Parquet or CSV."""

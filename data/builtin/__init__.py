"""Data sets that `make up DATASET=` fetches, beside MovieLens (`data.movielens`)."""

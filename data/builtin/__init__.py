"""Data sets that are fetched and verified: MovieLens 100K and complete-journey (`make up DATASET=`)."""

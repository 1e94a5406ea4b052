"""Relations between items, as the few strongest of each: for catalogues of any size."""

"""Measurements that the documents quote, each with its command. `peers` are what we compare with."""

"""Measurements that the documents quote, each with its command. `peers` are what we compare with."""

from configs.moved_modules import tell_moves

tell_moves()

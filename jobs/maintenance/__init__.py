"""Keeping the store: streams -> log (`compact`), log -> features (`rebuild_features`), imports, backup, restore."""

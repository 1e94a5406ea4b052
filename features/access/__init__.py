"""API keys and the audit log in the store.

A change of a key -> `key_records` (compare and set, version up) -> every replica's watch. What admins did, and what was
refused -> `audit_log` (a stream of bounded length).
"""

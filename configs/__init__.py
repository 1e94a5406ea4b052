"""Typed settings, event types and the YAML that they read."""

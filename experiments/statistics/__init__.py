"""Sufficient sums -> `difference` of two arms -> tests, intervals, power. Each agrees with published numbers."""

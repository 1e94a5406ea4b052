"""Load, processor time and plots, for the measurements."""

"""Two windows of live events -> `drift`; lists and what followed -> `live_quality`; ratings -> `bias`."""

"""What every replica does beside its work: it follows the serving state, and it counts, times and traces.

Versions of the control keys -> `control_watch` -> what the replica serves. Requests -> `request_metrics` (counts,
`latency` histograms, spans of `tracing`) -> sums in the store and `ray_metrics`; `autoscaling` reads the requests in
flight.
"""

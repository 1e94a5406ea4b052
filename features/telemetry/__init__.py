"""What replicas and autopilot counted: additions -> sums over all of them, by slices of time."""

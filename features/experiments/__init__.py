"""Experiments in the store: definition -> `steps` of its life -> counts of users (`counts`, `recount`) -> `series`."""

"""Trainings on generated data of large shapes, without a stack: time and peak memory against their limits."""

"""Interactions -> `interest` (a weight for each user and item) -> `als` (factors) -> `fold_in` (one user's vector)."""

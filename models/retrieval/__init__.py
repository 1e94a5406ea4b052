"""User vector and history -> `index` and `shelf` (what may appear) -> `candidates`; `id_table` has positions."""

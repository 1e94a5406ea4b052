"""What is written of an item -> `description` (words, keywords, numbers) -> `content_map` (a vector) <- `fitting`."""

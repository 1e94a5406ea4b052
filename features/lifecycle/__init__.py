"""All that is kept: `table` says what and for how long, `use` measures how much of its budget each group uses."""

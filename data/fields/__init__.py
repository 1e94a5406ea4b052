"""What one field may hold: ids, times, cells of a table, and the words that tell a fault. HTTP and files share it."""

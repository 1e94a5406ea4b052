"""Writing: row or request -> `event` or `exposure` -> one script -> features, stream, counts (`online_store`)."""

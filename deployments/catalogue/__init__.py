"""Items and users over HTTP: request -> check -> store; catalogue in memory -> `search` -> pages -> answers."""

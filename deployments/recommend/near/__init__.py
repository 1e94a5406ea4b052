"""Near relations in a replica that serves: it follows all users' events, and counts what they take up together."""

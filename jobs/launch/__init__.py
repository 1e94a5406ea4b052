"""How a command gets to Ray: submitted as a job (`submit`), or on a Ray of its own (`ray_session`)."""

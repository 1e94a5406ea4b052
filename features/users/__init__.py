"""What the store knows of a user: packed bytes -> `user_features`, `history`; and `erasure`, which forgets a user."""

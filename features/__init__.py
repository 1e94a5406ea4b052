"""The online store: everything that speaks the Redis protocol, and every key.

Event or exposure -> `recording` (one script) -> `users`, `items` (features) and `streams` -> the offline log.
`recovery` makes the features anew. `serving` is what the replicas follow, `experiments` what they split users by,
`telemetry` what they counted. `redis` is the connection, the scripts, the keys and the locks beneath all of it.
"""

from configs.moved_modules import tell_moves

tell_moves()

#!lua flags=allow-oom
-- Takes a lock even where the memory is full: the job that holds it may be the one that makes room.
-- KEYS: lock   ARGV: token, milliseconds   Answers OK, or nothing when another holds it.
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])

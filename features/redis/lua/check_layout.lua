-- Fixes the layout of an empty store, once; answers the layout that holds.
-- KEYS: meta   ARGV: format, partitions
redis.call('HSETNX', KEYS[1], 'format', ARGV[1])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
return redis.call('HMGET', KEYS[1], 'format', 'partitions')

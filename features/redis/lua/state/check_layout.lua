-- Fixes the layout of an empty store, once; answers the layout that holds.
-- KEYS: meta   ARGV: format, partitions
local found = redis.call('HMGET', KEYS[1], 'format', 'partitions')
if found[1] and found[2] then return found end  -- a full store refuses even a write that would change nothing
redis.call('HSETNX', KEYS[1], 'format', ARGV[1])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
return redis.call('HMGET', KEYS[1], 'format', 'partitions')

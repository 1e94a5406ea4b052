-- Fixes the layout of an empty store, once, and raises the format of one that is older; answers the layout that held.
-- KEYS: meta   ARGV: format, the oldest format that is read, partitions, version of the program
local found = redis.call('HMGET', KEYS[1], 'format', 'partitions', 'written_by')
if found[1] and found[2] then
    local format = tonumber(found[1])
    if found[2] == ARGV[3] and format >= tonumber(ARGV[2]) and format < tonumber(ARGV[1]) then
        -- A full store refuses this, and is read all the same: the next start raises it.
        redis.pcall('HSET', KEYS[1], 'format', ARGV[1], 'written_by', ARGV[4])
    end
    return found  -- a full store refuses even a write that would change nothing
end
redis.call('HSETNX', KEYS[1], 'format', ARGV[1])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[3])
redis.call('HSETNX', KEYS[1], 'written_by', ARGV[4])
return redis.call('HMGET', KEYS[1], 'format', 'partitions', 'written_by')

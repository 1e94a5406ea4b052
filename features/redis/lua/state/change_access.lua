-- Writes the API keys if nobody has written them meanwhile, and counts their version up, which every replica polls.
--
-- KEYS  1 access (JSON)   2 versions
-- ARGV  1 the version on which the change was decided   2 the JSON
--
-- Answers the version after the change; 0 where somebody else was quicker.
if (redis.call('HGET', KEYS[2], 'access') or '0') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return redis.call('HINCRBY', KEYS[2], 'access', 1)

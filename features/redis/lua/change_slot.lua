-- Points a model slot at a version (or at nothing) and writes the decision into the timeline.
--
-- KEYS  1 slots   2 versions   3 decisions (stream)
-- ARGV  1 slot   2 JSON, '' to clear   3 version, '' to clear   4 reason   5 time in ms
-- Constant: DECISIONS_KEPT
--
-- Answers the slots version after the change.
local old = redis.call('HGET', KEYS[1], ARGV[1])
local previous = old and cjson.decode(old)['version'] or ''
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', DECISIONS_KEPT, '*', 'slot', ARGV[1], 'version', ARGV[3],
           'previous', previous, 'reason', ARGV[4], 'time_ms', ARGV[5])
return redis.call('HINCRBY', KEYS[2], 'slots', 1)

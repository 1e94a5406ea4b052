-- Writes one experiment, if nothing that steers traffic has changed since it was decided on, and logs the change.
--
-- KEYS  1 experiments   2 versions   3 changes (stream)
-- ARGV  1 traffic version that was read   2 experiment   3 JSON   4 what changed   5 reason   6 time in ms
-- Constant: CHANGES_KEPT
--
-- Answers the traffic version after the change, or -1 when somebody else was quicker.
if tonumber(redis.call('HGET', KEYS[2], 'traffic') or 0) ~= tonumber(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', CHANGES_KEPT, '*', 'experiment', ARGV[2], 'change', ARGV[4],
           'reason', ARGV[5], 'time_ms', ARGV[6], 'state', ARGV[3])
return redis.call('HINCRBY', KEYS[2], 'traffic', 1)

-- Sets which share of the traffic the challenger gets without an experiment, and writes it into the timeline.
--
-- KEYS  1 rollout   2 versions   3 decisions (stream)
-- ARGV  1 traffic version that was read   2 JSON, '' to end it   3 version   4 share   5 reason   6 time in ms
-- Constant: DECISIONS_KEPT
--
-- Answers the traffic version after the change, or -1 when somebody else was quicker.
if tonumber(redis.call('HGET', KEYS[2], 'traffic') or 0) ~= tonumber(ARGV[1]) then return -1 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', DECISIONS_KEPT, '*', 'slot', 'challenger', 'version', ARGV[3],
           'previous', '', 'reason', ARGV[5], 'time_ms', ARGV[6], 'share', ARGV[4])
return redis.call('HINCRBY', KEYS[2], 'traffic', 1)

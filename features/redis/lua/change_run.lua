-- Moves the retraining to its next state, if it is still in the one that the caller saw, and writes why.
--
-- KEYS  1 run   2 latest finished run   3 timeline (stream)
-- ARGV  1 the state seen, as `<run id>:<state>`, '' for none   2 the state to be, JSON, '' for none
--       3 the finished run, JSON, '' where it has not finished   4 entry of the timeline, JSON
-- Constant: TIMELINE_KEPT
--
-- Answers '' when it was done; else the run as it stands, and nothing has changed.
local now = redis.call('GET', KEYS[1])
local seen = ''
if now then
  local run = cjson.decode(now)
  seen = run['run_id'] .. ':' .. run['state']
end
if seen ~= ARGV[1] then return now or 'null' end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', TIMELINE_KEPT, '*', 'e', ARGV[4])
return ''

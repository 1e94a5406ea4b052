-- Logs one list that was shown to a user, and counts its items as exposed.
--
-- KEYS  1 exposures stream   2 the user's last exposure   3 rebuilding   4 exposures that were trimmed
--       5.. hashes of the items shown
-- ARGV  1 'live' or 'replay'   2 recommendation id   3 exposure as JSON   4 number of items
--       and for a list that counts for an experiment, with three keys more after those of the items (user hash, the
--       user's experiments, sums of the partition):
--       5 experiment   6 variant   7 events before   8 simulated 0|1   9 items, each between tabs
--       or for a list whose variant was forced, with the same keys: 5 ''
-- Constants: WINDOW_MS, MAX_EXPOSURES, IDLE_S; and those of experiment.lua
--
-- Answers 1, or 0 when this is the user's last exposure already: the client lost the connection and tried again.
local items = tonumber(ARGV[4])
if ARGV[1] == 'live' then
  if redis.call('GET', KEYS[2]) == ARGV[2] then return 0 end
  local id
  if MAX_EXPOSURES > 0 then
    id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[3])
    -- What goes here was never compacted: it is missing in the log, so it is counted
    local trimmed = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', MAX_EXPOSURES)
    if trimmed > 0 then redis.call('INCRBY', KEYS[4], trimmed) end
  end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', WINDOW_MS)
  -- A rebuild counts the exposures of the stream itself, at its end
  if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
  -- Experiments count what is logged, so that the log can always prove them
  if ARGV[5] == '' and id then
    experiments().note_forced(KEYS[items + 6], ARGV[2], tonumber(string.match(id, '^%d+')))
  elseif ARGV[5] and id then
    experiments().count_list(KEYS[items + 5], KEYS[items + 6], KEYS[items + 7], ARGV[5], ARGV[6], ARGV[2],
                             tonumber(string.match(id, '^%d+')), ARGV[9], tonumber(ARGV[7]), tonumber(ARGV[8]))
  end
  if ARGV[5] and id and IDLE_S > 0 then
    redis.call('EXPIRE', KEYS[items + 6], IDLE_S)
    -- Events decide how long the user's features live; a list may only have made the hash, which then has no end yet
    if redis.call('TTL', KEYS[items + 5]) == -1 then redis.call('EXPIRE', KEYS[items + 5], IDLE_S) end
  end
end
for i = 5, items + 4 do redis.call('HINCRBY', KEYS[i], 'exposures', 1) end
return 1

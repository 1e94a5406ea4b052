-- Logs one list that was shown to a user, and counts its items as exposed.
--
-- KEYS  1 exposures stream   2 the user's last exposure   3 rebuilding   4.. hashes of the items shown
-- ARGV  1 'live' or 'replay'   2 recommendation id   3 exposure as JSON
-- Constants: WINDOW_MS, MAX_EXPOSURES
--
-- Answers 1, or 0 when this is the user's last exposure already: the client lost the connection and tried again.
if ARGV[1] == 'live' then
  if redis.call('GET', KEYS[2]) == ARGV[2] then return 0 end
  if MAX_EXPOSURES > 0 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', MAX_EXPOSURES, '*', 'e', ARGV[3])
  end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', WINDOW_MS)
  -- A rebuild counts the exposures of the stream itself, at its end
  if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
end
for i = 4, #KEYS do redis.call('HINCRBY', KEYS[i], 'exposures', 1) end
return 1

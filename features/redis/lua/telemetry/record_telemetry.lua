-- Adds what one replica has counted since its last report, to the totals and to the present slice of time.
--
-- KEYS  1 totals   2 slice   3 writers
-- ARGV  1 writer   2 number of this report, from 1   3 time in ms   4 deployment   5 start of the replica in ms
--       6.. field, amount, field, amount ...
-- Constants: SLICE_KEPT_S, WRITER_KEPT_MS
--
-- Answers 1, or 0 when this report was taken already: the connection broke before the answer and it was sent again.
local writer, number, now_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local last = redis.call('HGET', KEYS[3], writer)
if last and tonumber(string.match(last, '^(%d+):')) >= number then return 0 end
for i = 6, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
end
if #ARGV > 5 then redis.call('EXPIRE', KEYS[2], SLICE_KEPT_S) end
redis.call('HSET', KEYS[3], writer, table.concat({ARGV[2], ARGV[3], ARGV[4], ARGV[5]}, ':'))
-- A new writer is the moment to forget those that are long gone
if not last then
  local all = redis.call('HGETALL', KEYS[3])
  for i = 1, #all, 2 do
    if tonumber(string.match(all[i + 1], '^%d+:(%d+)')) < now_ms - WRITER_KEPT_MS then
      redis.call('HDEL', KEYS[3], all[i])
    end
  end
end
return 1

-- Adds what became of lists that have closed, and notes up to when all were judged.
--
-- KEYS  1 quality   2 simulated events by second   3.. items shown, one key for each (version, day) of ARGV
-- ARGV  1 the watermark that the caller saw, '' for none   2 the new one   3 number n of sums
--       then n times field, amount; number m of seconds, m times second, simulated events of it; the second before
--       which they are forgotten; then for each further key: number of items, items ...
-- Constant: SHOWN_KEPT_S
--
-- Answers 1, or 0 when somebody else has judged these lists meanwhile; then nothing has changed.
local seen = redis.call('HGET', KEYS[1], 'watermark') or ''
if seen ~= ARGV[1] then return 0 end
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[at]) do
  redis.call('HINCRBY', KEYS[2], ARGV[at + 1], ARGV[at + 2])
  at = at + 2
end
at = at + 1
redis.call('HSET', KEYS[2], 'counted', 1)
local oldest = tonumber(ARGV[at])
if oldest > 0 then
  for _, second in ipairs(redis.call('HKEYS', KEYS[2])) do
    if second ~= 'counted' and tonumber(second) < oldest then redis.call('HDEL', KEYS[2], second) end
  end
end
at = at + 1
for i = 3, #KEYS do
  local count = tonumber(ARGV[at])
  -- In steps: unpack takes only so many values
  for from = at + 1, at + count, 1000 do
    redis.call('PFADD', KEYS[i], unpack(ARGV, from, math.min(from + 999, at + count)))
  end
  redis.call('EXPIRE', KEYS[i], SHOWN_KEPT_S)
  at = at + count + 1
end
redis.call('HSET', KEYS[1], 'watermark', ARGV[2])
return 1

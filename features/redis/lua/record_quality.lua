-- Adds what became of lists that have closed, and notes up to when all were judged.
--
-- KEYS  1 quality   2.. items shown, one key for each (version, day) of ARGV
-- ARGV  1 the watermark that the caller saw, '' for none   2 the new one   3 number n of sums
--       then n times field, amount; then for each further key: number of items, items ...
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
for i = 2, #KEYS do
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

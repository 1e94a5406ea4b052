-- Deletes a user's keys, and takes what the user added out of the sums of experiments. Answers how many keys there were,
-- the time, and up to where the two streams may name the user: what arrives later belongs to a user who came back.
-- KEYS  1 events stream   2 exposures stream   3 sums of experiments   4 ids of the partition's users
--       5 the user's experiments   6.. the user's other keys
-- ARGV  1 the user's id
experiments().forget_user(KEYS[5], KEYS[3])
local removed = 0
for i = 5, #KEYS do removed = removed + redis.call('UNLINK', KEYS[i]) end
redis.call('ZREM', KEYS[4], ARGV[1])
local clock = redis.call('TIME')
local answer = {removed, clock[1] * 1000 + math.floor(clock[2] / 1000)}
for i = 1, 2 do
  local last = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)
  answer[2 + i] = last[1] and last[1][1] or '0-0'
end
return answer

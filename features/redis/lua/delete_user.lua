-- Deletes a user's keys, and takes what the user added out of the sums of experiments. Answers how many keys there were,
-- the time, and up to where the two streams may name the user: what arrives later belongs to a user who came back.
-- KEYS  1 events stream   2 exposures stream   3 sums of experiments   4 the user's experiments   5.. the user's other keys
experiments().forget_user(KEYS[4], KEYS[3])
local removed = 0
for i = 4, #KEYS do removed = removed + redis.call('UNLINK', KEYS[i]) end
local clock = redis.call('TIME')
local answer = {removed, clock[1] * 1000 + math.floor(clock[2] / 1000)}
for i = 1, 2 do
  local last = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)
  answer[2 + i] = last[1] and last[1][1] or '0-0'
end
return answer

-- Deletes a user's keys. Answers how many there were, the time, and up to where the two streams may name the user:
-- what arrives later belongs to a user who came back.
-- KEYS  1 events stream   2 exposures stream   3.. the user's keys
local removed = 0
for i = 3, #KEYS do removed = removed + redis.call('UNLINK', KEYS[i]) end
local clock = redis.call('TIME')
local answer = {removed, clock[1] * 1000 + math.floor(clock[2] / 1000)}
for i = 1, 2 do
  local last = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)
  answer[2 + i] = last[1] and last[1][1] or '0-0'
end
return answer

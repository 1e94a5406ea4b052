-- Writes a change of the serving state, if that is still the version that the change was decided on.
--
-- KEYS  1 versions   2 request   3.. the keys that the writes name by their number
-- ARGV  1 version that was read   2 writes, JSON: [command, number of the key, argument...] each
-- Constant: REQUEST_KEPT_S
--
-- The first write adds a line to a stream: where the memory is full the server refuses it, before anything has changed.
-- Answers the version after the change, or -1 when somebody else was quicker and nothing was written. A request that is
-- repeated, since its answer was lost on the way, gets the same answer and changes nothing.
local done = redis.call('GET', KEYS[2])
if done then return tonumber(done) end
local seen = tonumber(ARGV[1])
if tonumber(redis.call('HGET', KEYS[1], 'serving') or 0) ~= seen then return -1 end
for _, write in ipairs(cjson.decode(ARGV[2])) do
  redis.call(write[1], KEYS[write[2]], unpack(write, 3))
end
redis.call('HSET', KEYS[1], 'serving', seen + 1)
redis.call('SET', KEYS[2], seen + 1, 'EX', REQUEST_KEPT_S)
return seen + 1

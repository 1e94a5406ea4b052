-- Adds attributes to the schemas of items and users, and tells the replicas as of a change of the catalogue.
--
-- KEYS  1 schemas   2 versions   3 changes (stream)
-- ARGV  for each attribute: 'item:<name>' or 'user:<name>', and its type
--
-- Answers {} when it is done; {attribute, its type in the store} where one has another type, and then writes nothing.
local new = {}
for i = 1, #ARGV, 2 do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if stored and stored ~= ARGV[i + 1] then return {ARGV[i], stored} end
  if not stored then
    new[#new + 1] = ARGV[i]
    new[#new + 1] = ARGV[i + 1]
  end
end
if #new == 0 then return {} end
redis.call('HSET', KEYS[1], unpack(new))
-- A change of no item: a replica that follows the versions without a gap reads the schemas anew
local version = redis.call('HINCRBY', KEYS[2], 'catalogue', 1)
redis.call('XADD', KEYS[3], version .. '-0', 'ids', '[]')
return {}

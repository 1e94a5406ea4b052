-- Writes items into the catalogue, counts its version up and tells the replicas which items changed.
--
-- KEYS  1 catalogue   2 versions   3 changes (stream)
-- ARGV  1 'put', or 'new' to leave listed items alone   then for each item: id, created_ms, JSON without created_ms
--       'swap' for one item, with its stored JSON behind it, as the caller saw it
-- Constant: CHANGES_KEPT
--
-- Answers the catalogue version after the change; -1 where the item to be swapped is another by now.
local ids = {}
if ARGV[1] == 'swap' and redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[5] then return -1 end
for i = 2, ARGV[1] == 'swap' and 4 or #ARGV, 3 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if not old or ARGV[1] ~= 'new' then
    -- created_ms stands first in the stored JSON, so that it is found without parsing
    local created = old and string.match(old, '^{"created_ms":(%d+),') or ARGV[i + 1]
    local new = '{"created_ms":' .. created .. ',' .. string.sub(ARGV[i + 2], 2)
    redis.call('HSET', KEYS[1], ARGV[i], new)
    ids[#ids + 1] = ARGV[i]
  end
end
if #ids == 0 then return redis.call('HGET', KEYS[2], 'catalogue') or 0 end
local version = redis.call('HINCRBY', KEYS[2], 'catalogue', 1)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', CHANGES_KEPT, version .. '-0', 'ids', cjson.encode(ids))
return version

-- Finds a user's entries in one page of a stream, and deletes them if asked to.
-- KEYS  1 stream
-- ARGV  1 'read' or 'delete'   2 the bytes with which the user's entries begin   3 first id, or '(id'   4 last id
-- Constant: PAGE
-- Answers where to go on ('' at the end) and id, value, id, value ...
local entries = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[4], 'COUNT', PAGE)
local prefix, found = ARGV[2], {}
for i = 1, #entries do
  local id, value = entries[i][1], entries[i][2][2]
  if string.sub(value, 1, #prefix) == prefix then
    found[#found + 1] = id
    found[#found + 1] = value
    if ARGV[1] == 'delete' then redis.call('XDEL', KEYS[1], id) end
  end
end
local next_start = #entries == PAGE and '(' .. entries[#entries][1] or ''
return {next_start, found}

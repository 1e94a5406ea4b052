-- Records one event of one user: once, durably, visible in every feature when it answers.
--
-- KEYS  1 user hash       2 history     3 older seen   4 ledger     5 events stream   6 item hash
--       7 totals hash     8 rebuilding  9, 10, 11 trending by 1 h, 1 day, 7 days (sorted sets)
--       12 the user's experiments       13 sums of the partition's experiments
--       14 ids of the partition's users   15 the user's attributes
-- ARGV  1 'live', or the stream id of an event that is replayed from the log ('' where it never had one)
--       2 digest of the event id (8 bytes) and 3 bytes more, see the ledger      3 event as JSON      4 item id
--       5 history record (13 bytes: time f8, value f4, code u1, little endian)
--       6 weight: what it counts for popularity (>= 0), unless the user has counted for the item already
--       7 affinity: what it counts for the item's categories (a refusal counts below 0)
--       8 what it means for an experiment (see experiment.lua)   9 the recommendation id that it names, or ''
--       10.. categories of the item
-- Constants come in front: WINDOW_MS, LEDGER_LIMIT, HISTORY_LIMIT, SEEN_LIMIT, SEEN_CODES, IDLE_S,
--       WEIGHTS (a function that gives the weight of every code: a number, steps, or per and max),
--       CATEGORY_LIMIT, TRENDING_LIMIT, HALF_LIFE_1 to HALF_LIFE_3, AFFINITY_HALF_LIFE (ms), and those of experiment.lua
--
-- Answers {0 recorded, 1 a duplicate or 2 a conflict; stream id, user version, actions mask}. All reads come first: when the memory is full, the
-- first write fails and nothing has changed.

local LOGGED, HISTORY, PROFILE, ITEM, TRENDING, SEEN, DEFERRED = 1, 2, 4, 8, 16, 32, 64
local HALF_LIVES = {HALF_LIFE_1, HALF_LIFE_2, HALF_LIFE_3}
local LOG_2 = math.log(2)
local RECORD, ENTRY = 13, 27
local live = ARGV[1] == 'live'
local item_id, record = ARGV[4], ARGV[5]
local time_ms, value, code = struct.unpack('<dfB', record)
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function whole(number) return string.format('%.0f', number) end
local function pack_ms(ms) return struct.pack('<I4I2', ms % 4294967296, math.floor(ms / 4294967296)) end
local function unpack_ms(text, at)
  local low, high = struct.unpack('<I4I2', text, at)
  return high * 4294967296 + low
end

-- The ledger: the answers to the user's latest events, oldest first, ENTRY bytes each:
-- digest (8), stream id ms (6) and sequence (4), user version (8), mask (1). One string instead of a key per event
-- costs 27 bytes instead of some 250, and erasing a user finds all of it.
-- The digest is that of the event id in its first 5 bytes. In its last 3 it also holds what the event says (item, type,
-- value), so that an id which comes again for another event is told from a retry. Entries of earlier versions hold the
-- plain digest of the id there, which counts as a retry.
local id_digest, earlier_end, content_end = string.sub(ARGV[2], 1, 5), string.sub(ARGV[2], 6, 8), string.sub(ARGV[2], 9)
local ledger = redis.call('GET', KEYS[4]) or ''
local function entry_ms(index) return unpack_ms(ledger, (index - 1) * ENTRY + 9) end
local known, other  -- where the ledger holds this event, or another one of the same id
local from = 1
while not known do
  local at = string.find(ledger, id_digest, from, true)
  if not at then break end
  if (at - 1) % ENTRY == 0 and unpack_ms(ledger, at + 8) > now_ms - WINDOW_MS then
    local last = string.sub(ledger, at + 5, at + 7)
    if last == content_end or last == earlier_end then known = at else other = at end
  end
  from = at + 1
end
local answered = known or other
if answered and live then
  local ms, sequence = unpack_ms(ledger, answered + 8), struct.unpack('<I4', ledger, answered + 14)
  local low, high = struct.unpack('<I4I4', ledger, answered + 18)
  local version, mask = high * 4294967296 + low, string.byte(ledger, answered + 26)
  return {known and 1 or 2, whole(ms) .. '-' .. whole(sequence), version, mask}
end

local function remember(stream_ms, sequence, version, mask)
  local version_bytes = struct.pack('<I4I4', version % 4294967296, math.floor(version / 4294967296))
  local entry = id_digest .. content_end .. pack_ms(stream_ms) .. struct.pack('<I4', sequence) .. version_bytes .. string.char(mask)
  local count = #ledger / ENTRY
  local stale = 0
  if count > 0 and entry_ms(1) <= now_ms - WINDOW_MS then
    local low, high = 1, count
    while low < high do
      local middle = math.ceil((low + high) / 2)
      if entry_ms(middle) <= now_ms - WINDOW_MS then low = middle else high = middle - 1 end
    end
    stale = low
  end
  if count - stale >= LEDGER_LIMIT then stale = count - LEDGER_LIMIT + math.ceil(LEDGER_LIMIT / 8) end
  local place = count  -- a replayed event may belong before others
  while place > 0 and entry_ms(place) > stream_ms do place = place - 1 end
  -- Rewriting the string for every stale entry would make each event of a busy user slow
  if stale > count / 8 or place < count then
    local cut = math.max(place, stale) * ENTRY
    redis.call('SET', KEYS[4], string.sub(ledger, stale * ENTRY + 1, cut) .. entry .. string.sub(ledger, cut + 1))
  else
    redis.call('APPEND', KEYS[4], entry)
  end
  redis.call('PEXPIRE', KEYS[4], WINDOW_MS)
end

local function split_id(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end

-- While the partition's features are rebuilt, the event is only logged; the rebuild applies it at its end.
if live and redis.call('EXISTS', KEYS[8]) == 1 then
  local version = tonumber(redis.call('HGET', KEYS[1], 'ver') or 0)
  local id = redis.call('XADD', KEYS[5], '*', 'e', ARGV[3])
  local ms, sequence = split_id(id)
  remember(ms, sequence, version, LOGGED + DEFERRED)
  return {0, id, version, LOGGED + DEFERRED}
end

local mask = PROFILE + ITEM
local weight, affinity = tonumber(ARGV[6]), tonumber(ARGV[7])
local categories = {}
if affinity ~= 0 then
  for i = 10, #ARGV do categories[#categories + 1] = ARGV[i] end
end

-- Reads
local wanted = {'ver', 'act', 'first', 'last', 'older', 'cats', 'n' .. code, 'x'}
for i = 1, #categories do wanted[8 + i] = 'c:' .. categories[i] end
local user = redis.call('HMGET', KEYS[1], unpack(wanted))
local history = redis.call('GET', KEYS[2])
local item = redis.call('HMGET', KEYS[6], 'n' .. code, 'first', 'last', 'pop')
local totals = redis.call('HMGET', KEYS[7], 'events', 'last_ms')

-- Decayed sums: (reference time, values as of it). The reference is the newest time seen, so the order in which
-- events arrive changes nothing but the rounding (forward decay: Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009).
local function decayed(packed, amounts)
  if not packed then return struct.pack('<dddd', time_ms, amounts[1], amounts[2], amounts[3]), time_ms, amounts end
  local reference, a, b, c = struct.unpack('<dddd', packed)
  local sums = {a, b, c}
  local gap = time_ms - reference
  for i = 1, 3 do
    if gap >= 0 then
      sums[i] = sums[i] * 2 ^ (-gap / HALF_LIVES[i]) + amounts[i]
    else
      sums[i] = sums[i] + amounts[i] * 2 ^ (gap / HALF_LIVES[i])
    end
  end
  reference = math.max(reference, time_ms)
  return struct.pack('<dddd', reference, sums[1], sums[2], sums[3]), reference, sums
end

local function decayed_affinity(packed)
  if not packed then return struct.pack('<dd', time_ms, affinity) end
  local reference, sum = struct.unpack('<dd', packed)
  local gap = time_ms - reference
  if gap >= 0 then
    return struct.pack('<dd', time_ms, sum * 2 ^ (-gap / AFFINITY_HALF_LIFE) + affinity)
  end
  return struct.pack('<dd', reference, sum + affinity * 2 ^ (gap / AFFINITY_HALF_LIFE))
end

-- Byte order, not `<`: that would ask the server's locale
local function compare(left, right)
  if left == right then return 0 end
  for i = 1, math.min(#left, #right) do
    local a, b = string.byte(left, i), string.byte(right, i)
    if a ~= b then return a < b and -1 or 1 end
  end
  return #left < #right and -1 or 1
end

-- History, ordered by (time, item, code, value; no value first). Returns its new form and what fell out.
local function insert()
  if not history then return struct.pack('<I4', 1) .. record .. item_id end
  local n = struct.unpack('<I4', history)
  local function time_at(i) return (struct.unpack('<d', history, (i - 1) * RECORD + 5)) end
  if n < HISTORY_LIMIT and time_at(n) < time_ms then  -- plainly the newest, and there is room
    return struct.pack('<I4', n + 1) .. string.sub(history, 5, 4 + n * RECORD) .. record
      .. string.sub(history, 5 + n * RECORD) .. '\n' .. item_id
  end
  local records = string.sub(history, 5, 4 + n * RECORD)
  local items = string.sub(history, 5 + n * RECORD)

  local starts  -- where each item id begins; only made when an event is not plainly the newest
  local function item_at(i)
    if not starts then
      starts = {1}
      local at = string.find(items, '\n', 1, true)
      while at do
        starts[#starts + 1] = at + 1
        at = string.find(items, '\n', at + 1, true)
      end
      starts[#starts + 1] = #items + 2
    end
    return string.sub(items, starts[i], starts[i + 1] - 2)
  end
  local function later_than_event(i)
    local time = time_at(i)
    if time ~= time_ms then return time > time_ms end
    local order = compare(item_at(i), item_id)
    if order ~= 0 then return order > 0 end
    local _, other, other_code = struct.unpack('<dfB', records, (i - 1) * RECORD + 1)
    if other_code ~= code then return other_code > code end
    if other ~= other then return false end  -- no value sorts first
    return value ~= value or other > value
  end

  -- How many of the n records precede the event
  local before = n
  if time_at(n) >= time_ms then
    local low, high = 0, n
    while low < high do
      local middle = math.floor((low + high) / 2)
      if later_than_event(middle + 1) then high = middle else low = middle + 1 end
    end
    before = low
  end

  if before == n then
    records, items = records .. record, items .. '\n' .. item_id
  else
    item_at(1)
    records = string.sub(records, 1, before * RECORD) .. record .. string.sub(records, before * RECORD + 1)
    items = string.sub(items, 1, starts[before + 1] - 1) .. item_id .. '\n' .. string.sub(items, starts[before + 1])
  end
  n = n + 1
  if n <= HISTORY_LIMIT then return struct.pack('<I4', n) .. records .. items end
  local cut = string.find(items, '\n', 1, true)
  local gone, gone_code = string.sub(items, 1, cut - 1), string.byte(records, RECORD)
  return struct.pack('<I4', n - 1) .. string.sub(records, RECORD + 1) .. string.sub(items, cut + 1), gone, gone_code
end

local new_history, gone, gone_code = insert()
if new_history ~= history then mask = mask + HISTORY end
if string.sub(SEEN_CODES, code + 1, code + 1) == '1' then mask = mask + SEEN end

-- Popularity: of all that a user did with an item only the event counts that weighs most by now, so that nobody lifts
-- an item by doing the same again and again. The event adds what it weighs beyond those in the history, as at its own
-- time; see models/ranking/once_per_user.py. One that is too old for a full history counts nothing.
local function weight_of(weights, other_code, other_value)
  local found = weights[other_code] or 0
  if type(found) == 'number' then return found end
  if other_value ~= other_value then return 0 end
  local result = 0
  if found.per then
    result = math.min(math.max(other_value / found.per, 0), found.max)
  else
    for i = 1, #found do
      if other_value >= found[i][1] then result = found[i][2] end
    end
  end
  return (struct.unpack('<f', struct.pack('<f', result)))
end

local function added_popularity()
  if weight <= 0 or new_history == history then return {0, 0, 0} end
  local best = {0, 0, 0}
  if history then
    local items = '\n' .. string.sub(history, 5 + struct.unpack('<I4', history) * RECORD) .. '\n'
    local wanted = '\n' .. item_id .. '\n'
    local from = string.find(items, wanted, 1, true)
    -- Of rows with the same value and code the last one weighs most, so it stands for all of them.
    local latest, row, counted_to = {}, 0, 1
    while from do
      if from == counted_to then  -- the row after the one before: doing the same on and on must not cost much
        row = row + 1
      else
        local _, lines = string.gsub(string.sub(items, counted_to, from), '\n', '')
        row = row + lines
      end
      local at = row * RECORD  -- of the last 5 bytes of the row's record, behind 4 bytes of head
      latest[string.sub(history, at, at + 4)] = row
      counted_to = from + #wanted - 1
      from = string.find(items, wanted, counted_to, true)
    end
    local weights
    for _, last in pairs(latest) do
      weights = weights or WEIGHTS()
      local other_ms, other_value, other_code = struct.unpack('<dfB', history, (last - 1) * RECORD + 5)
      local other_weight = weight_of(weights, other_code, other_value)
      if other_weight > 0 then
        for i = 1, 3 do best[i] = math.max(best[i], other_weight * 2 ^ ((other_ms - time_ms) / HALF_LIVES[i])) end
      end
    end
  end
  return {math.max(0, weight - best[1]), math.max(0, weight - best[2]), math.max(0, weight - best[3])}
end
local added = added_popularity()

local older
if gone and SEEN_LIMIT > 0 and string.sub(SEEN_CODES, gone_code + 1, gone_code + 1) == '1' then
  older = redis.call('GET', KEYS[3]) or ''
  if string.find('\n' .. older .. '\n', '\n' .. gone .. '\n', 1, true) then older = nil end
end

-- Writes, from here on
local id, stream_ms, sequence = ARGV[1], nil, nil
if live then
  id = redis.call('XADD', KEYS[5], '*', 'e', ARGV[3])
  mask = mask + LOGGED
end
if id ~= '' then stream_ms, sequence = split_id(id) end

-- The version starts from the clock in microseconds, so that a user who was erased (or rebuilt) and comes back never
-- meets a version under which some replica still caches a list: no user has an event in every microsecond.
local version = tonumber(user[1] or clock[1] * 1000000 + clock[2]) + 1

local changes = {
  'ver', version,
  'act', (decayed(user[2], {1, 1, 1})),
  'first', math.min(tonumber(user[3] or time_ms), time_ms),
  'last', math.max(tonumber(user[4] or time_ms), time_ms),
  'at', stream_ms or now_ms,
  'n' .. code, (user[7] or 0) + 1,
}
local function change(field, new)
  changes[#changes + 1] = field
  changes[#changes + 1] = new
end

if older then
  local count = tonumber(user[5] or 0) + 1
  if older == '' then
    redis.call('SET', KEYS[3], gone)
  elseif count <= SEEN_LIMIT then
    redis.call('APPEND', KEYS[3], '\n' .. gone)
  else
    local cut = string.find(older, '\n', 1, true)
    redis.call('SET', KEYS[3], (cut and string.sub(older, cut + 1) .. '\n' or '') .. gone)
    count = SEEN_LIMIT
  end
  change('older', count)
end

local new_categories = 0
for i = 1, #categories do
  if not user[8 + i] then new_categories = new_categories + 1 end
  change('c:' .. categories[i], decayed_affinity(user[8 + i]))
end
if new_categories > 0 then change('cats', (user[6] or 0) + new_categories) end
redis.call('HSET', KEYS[1], unpack(changes))
if not user[1] then redis.call('ZADD', KEYS[14], 0, (string.match(KEYS[1], '^.-}:u:(.*)$'))) end

-- Keep the hash small: beyond CATEGORY_LIMIT the weakest affinities go
local excess = new_categories > 0 and (user[6] or 0) + new_categories - CATEGORY_LIMIT or 0
if excess > 0 then
  local all, found = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'c:' then
      local reference, sum = struct.unpack('<dd', all[i + 1])
      found[#found + 1] = {math.log(math.max(math.abs(sum), 1e-300)) / LOG_2 + reference / AFFINITY_HALF_LIFE, all[i]}
    end
  end
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return compare(a[2], b[2]) < 0
  end)
  for i = 1, excess do redis.call('HDEL', KEYS[1], found[i][2]) end
  redis.call('HSET', KEYS[1], 'cats', CATEGORY_LIMIT)
end

if new_history ~= history then redis.call('SET', KEYS[2], new_history) end
if IDLE_S > 0 then
  for i = 1, 3 do redis.call('EXPIRE', KEYS[i], IDLE_S) end
  redis.call('EXPIRE', KEYS[12], IDLE_S)
  redis.call('EXPIRE', KEYS[15], IDLE_S)
end

local item_changes = {
  'n' .. code, (item[1] or 0) + 1,
  'first', math.min(tonumber(item[2] or time_ms), time_ms),
  'last', math.max(tonumber(item[3] or time_ms), time_ms),
}
if math.max(added[1], added[2], added[3]) > 0 then
  mask = mask + TRENDING
  local packed, reference, sums = decayed(item[4], added)
  item_changes[7], item_changes[8] = 'pop', packed
  -- In log space old and new weights compare without any sweep. The sums themselves stay in the item's hash, so
  -- the sorted set may drop all but its head: scores only rise, and whoever rises again comes back in full.
  for i = 1, 3 do
    local score = math.log(sums[i]) / LOG_2 + reference / HALF_LIVES[i]
    if sums[i] > 0 and redis.call('ZADD', KEYS[8 + i], score, item_id) == 1 then
      local surplus = redis.call('ZCARD', KEYS[8 + i]) - TRENDING_LIMIT
      if surplus > TRENDING_LIMIT / 10 then redis.call('ZREMRANGEBYRANK', KEYS[8 + i], 0, surplus - 1) end
    end
  end
end
redis.call('HSET', KEYS[6], unpack(item_changes))

redis.call('HSET', KEYS[7], 'events', (totals[1] or 0) + 1,
           'last_ms', math.max(tonumber(totals[2] or time_ms), time_ms))

if live and user[8] then
  experiments().count_event(user[8], KEYS[12], KEYS[13], stream_ms, item_id, time_ms, ARGV[9], tonumber(ARGV[8]), value)
end

if stream_ms and not known and stream_ms > now_ms - WINDOW_MS then remember(stream_ms, sequence, version, mask) end
return {0, id, version, mask}

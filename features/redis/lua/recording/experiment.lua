-- What experiments count of a user. Shared text: stands in front of record_event, log_exposure and delete_user.
-- The rule is that of experiments/attribution.py; a test holds the two equal.
--
-- A user's hash `x` holds, for each experiment, `t:<experiment>`: the totals, as text; and `lists`: the latest lists of
-- the current experiment, newest first, each a line
--     <recommendation id> <time ms> <clicked 0|1> <engaged 0|1> <hits, ten 0|1>\t<item>\t<item>\t ... \t\n
-- A list beyond the first COUNTED_LISTS of a user has all of these set, so that nothing more is counted for it. A list
-- whose variant was forced has no items and ten 2 for hits: an event that names it counts nowhere.
-- Ids hold no control characters. Which experiment is current is field `x` of the user hash (`u`): `<experiment>|<variant>`.
-- The partition's hash of sums has `<experiment>|<variant>|<statistic>` and, once stopped, `<experiment>|end` in ms.
-- All of it in one function, so that a script which needs none of it (no experiment runs) makes none of it.
-- Constants: ATTRIBUTION_MS, SESSION_GAP_MS, CLOCK_SKEW_MS, LISTS_KEPT, COUNTED_LISTS
local function experiments()
  local CLICK, ENGAGE, CONVERT, RATE = 1, 2, 4, 8
  local NAMES = {
    'first_ms', 'last_ms', 'before', 'simulated', 'mixed', 'lists', 'clicked', 'engaged', 'precision', 'events',
    'conversions', 'rated', 'ratings', 'sessions',
  }
  local QUANTITIES = {
    'lists', 'clicked', 'engaged', 'precision', 'events', 'converted', 'returned', 'rated', 'ratings', 'before',
  }
  -- Places in QUANTITIES: clicked, engaged and precision with lists; ratings with rated; all with before
  local PRODUCTS = {{2, 1}, {3, 1}, {4, 1}, {9, 8}}
  for place = 1, #QUANTITIES - 1 do PRODUCTS[#PRODUCTS + 1] = {place, #QUANTITIES} end

  local function read_totals(text)
    if not text then return nil end
    local totals, place = {}, 0
    for word in string.gmatch(text, '%S+') do
      if place == 0 then totals.variant = word else totals[NAMES[place]] = tonumber(word) end
      place = place + 1
    end
    return totals
  end

  local function write_totals(totals)
    local words = {totals.variant}
    for place = 1, #NAMES do words[place + 1] = string.format('%.0f', totals[NAMES[place]]) end
    return table.concat(words, ' ')
  end

  -- The user's quantities, and how the user counts: nothing for nil, and as mixed alone for one of two variants.
  local function quantities(totals)
    if not totals then return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n = 0, simulated = 0, mixed = 0} end
    if totals.mixed == 1 then return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n = 0, simulated = 0, mixed = 1} end
    return {
      totals.lists, totals.clicked, totals.engaged, totals.precision, totals.events, totals.conversions > 0 and 1 or 0,
      totals.sessions > 1 and 1 or 0, totals.rated, totals.ratings, totals.before,
      n = 1, simulated = totals.simulated, mixed = 0,
    }
  end

  -- Moves the sums by what changed for one user. Whole numbers: no rounding, whatever the order.
  local function change_sums(key, experiment, variant, old, new)
    local prefix = experiment .. '|' .. variant .. '|'
    local function add(name, change)
      if change ~= 0 then redis.call('HINCRBY', key, prefix .. name, string.format('%.0f', change)) end
    end
    if old.n ~= new.n or old.mixed ~= new.mixed then
      add('n', new.n - old.n)
      add('simulated', new.simulated - old.simulated)
      add('mixed', new.mixed - old.mixed)
    end
    for i = 1, #QUANTITIES do
      if old[i] ~= new[i] then
        add(QUANTITIES[i], new[i] - old[i])
        add(QUANTITIES[i] .. '^2', new[i] * new[i] - old[i] * old[i])
      end
    end
    for i = 1, #PRODUCTS do
      local x, y = PRODUCTS[i][1], PRODUCTS[i][2]
      if old[x] ~= new[x] or old[y] ~= new[y] then
        add(QUANTITIES[x] .. '*' .. QUANTITIES[y], new[x] * new[y] - old[x] * old[y])
      end
    end
  end

  local function over(sums_key, experiment, ms)
    local ended = redis.call('HGET', sums_key, experiment .. '|end')
    return ended and ms > tonumber(ended)
  end

  local function average_precision(hits)
    local found, total = 0, 0
    for place = 1, 10 do
      if string.sub(hits, place, place) == '1' then
        found = found + 1
        total = total + found / place
      end
    end
    return math.floor(total / 10 * 10000 + 0.5)
  end

  local FORCED = '2222222222'

  -- A list was shown. `shown` is its items, each between tabs.
  local function count_list(user_key, key, sums_key, experiment, variant, id, ms, shown, before, simulated)
    if over(sums_key, experiment, ms) then return end
    local marker = redis.call('HGET', user_key, 'x')
    local state = redis.call('HMGET', key, 't:' .. experiment, 'lists')
    local totals = read_totals(state[1])
    local old = quantities(totals)
    if not totals then
      totals = {variant = variant, first_ms = ms, last_ms = ms, before = before, simulated = simulated}
      for i = 1, #NAMES do totals[NAMES[i]] = totals[NAMES[i]] or 0 end
    end
    if totals.variant ~= variant then totals.mixed = 1 end
    if totals.lists == 0 or ms - totals.last_ms > SESSION_GAP_MS then totals.sessions = totals.sessions + 1 end
    totals.last_ms = ms
    local flags = ' 1 1 1111111111'
    if totals.lists < COUNTED_LISTS then
      totals.lists = totals.lists + 1
      flags = ' 0 0 0000000000'
    end
    local lines = {id .. ' ' .. string.format('%.0f', ms) .. flags .. shown}
    local own = experiment .. '|' .. totals.variant
    for line in string.gmatch(state[2] or '', '[^\n]+') do
      if #lines == LISTS_KEPT then break end
      if marker == own or string.match(line, '^%S+ %d+ %d %d (%d+)') == FORCED then lines[#lines + 1] = line end
    end
    if marker ~= own then redis.call('HSET', user_key, 'x', own) end
    redis.call('HSET', key, 't:' .. experiment, write_totals(totals), 'lists', table.concat(lines, '\n') .. '\n')
    change_sums(sums_key, experiment, totals.variant, old, quantities(totals))
  end

  -- A list of a forced variant was shown.
  local function note_forced(key, id, ms)
    local lines = {id .. ' ' .. string.format('%.0f', ms) .. ' 1 1 ' .. FORCED .. '\t'}
    for line in string.gmatch(redis.call('HGET', key, 'lists') or '', '[^\n]+') do
      if #lines == LISTS_KEPT then break end
      lines[#lines + 1] = line
    end
    redis.call('HSET', key, 'lists', table.concat(lines, '\n') .. '\n')
  end

  -- An event was recorded, by a user whose current experiment is `marker`.
  local function count_event(marker, key, sums_key, ms, item_id, said_ms, id, goals, rating)
    local experiment = string.match(marker, '^([^|]*)|')
    if over(sums_key, experiment, ms) then return end
    local state = redis.call('HMGET', key, 't:' .. experiment, 'lists')
    if not state[1] then return end
    local totals, lists, later = read_totals(state[1]), '\n' .. (state[2] or ''), ''
    local old = quantities(totals)
    -- A list of this very millisecond counts as later than the event, here as in a recomputation from the log
    if totals.first_ms >= ms then return end
    while true do
      local line, shown_ms = string.match(lists, '^(\n%S+ (%d+) [^\n]*)')
      if not shown_ms or tonumber(shown_ms) < ms then break end
      later, lists = later .. line, string.sub(lists, #line + 1)
    end
    local function bits(flag) return math.floor(goals / flag) % 2 == 1 end

    local at, changed  -- where the list's line begins; the lists with what the event changed
    if id ~= '' then
      at = string.find(lists, '\n' .. id .. ' ', 1, true)
      if at and string.match(lists, '^(%S+) ', at + 1) ~= id then at = nil end
      if at and string.match(lists, '^%S+ %d+ %d %d (%d+)', at + 1) == FORCED then return end
    else
      local item_at = string.find(lists, '\t' .. item_id .. '\t', 1, true)
      if item_at then
        at = 1
        local next_line = string.find(lists, '\n', 2, true)
        while next_line and next_line < item_at do
          at = next_line
          next_line = string.find(lists, '\n', at + 1, true)
        end
      end
    end
    if not (at and id ~= '') and said_ms < totals.first_ms - CLOCK_SKEW_MS then return end
    totals.events = totals.events + 1

    if at then
      local finish = string.find(lists, '\n', at + 1, true)
      local line = string.sub(lists, at + 1, finish - 1)
      local head, shown_ms, clicked, engaged, hits, items = string.match(line, '^(%S+) (%d+) (%d) (%d) (%d+)(\t.*)$')
      local item_at = string.find(items, '\t' .. item_id .. '\t', 1, true)
      if item_at and ms - tonumber(shown_ms) <= ATTRIBUTION_MS then
        if bits(CLICK) and clicked == '0' then
          clicked = '1'
          totals.clicked = totals.clicked + 1
        end
        if bits(ENGAGE) then
          if engaged == '0' then
            engaged = '1'
            totals.engaged = totals.engaged + 1
          end
          local _, place = string.gsub(string.sub(items, 1, item_at), '\t', '')
          if place <= 10 and string.sub(hits, place, place) == '0' then
            local before = average_precision(hits)
            hits = string.sub(hits, 1, place - 1) .. '1' .. string.sub(hits, place + 1)
            totals.precision = totals.precision + average_precision(hits) - before
          end
        end
        if bits(CONVERT) then totals.conversions = totals.conversions + 1 end
        if bits(RATE) and rating == rating and totals.rated < COUNTED_LISTS then
          totals.rated = totals.rated + 1
          totals.ratings = totals.ratings + math.floor(rating * 1000 + 0.5)
        end
        changed = string.sub(lists, 1, at) .. table.concat({head, shown_ms, clicked, engaged, hits .. items}, ' ')
          .. string.sub(lists, finish)
      end
    end
    redis.call('HSET', key, 't:' .. experiment, write_totals(totals))
    -- The lists are long, and most events of a list change nothing in it
    if changed and changed ~= lists then redis.call('HSET', key, 'lists', string.sub(later .. changed, 2)) end
    change_sums(sums_key, experiment, totals.variant, old, quantities(totals))
  end

  -- A user leaves: the sums forget what the user added.
  local function forget_user(key, sums_key)
    local state = redis.call('HGETALL', key)
    for i = 1, #state, 2 do
      local experiment = string.match(state[i], '^t:(.*)$')
      if experiment then
        local totals = read_totals(state[i + 1])
        change_sums(sums_key, experiment, totals.variant, quantities(totals), quantities(nil))
      end
    end
  end

  return {count_list = count_list, note_forced = note_forced, count_event = count_event, forget_user = forget_user}
end


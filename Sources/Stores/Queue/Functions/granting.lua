-- The owner reads who waits, and writes down who got which seats.

local function append(list, a, b)
  local count = #list
  list[count + 1] = a
  list[count + 2] = b
end

-- Positions and their records, in turn: one call for those of one hash that follow each other.
local function put_records(p, records)
  local key, fields
  for i = 1, #records, 2 do
    local next_key, field = record_key(p, records[i])
    if next_key ~= key then
      if key then redis.call('HSET', key, unpack(fields)) end
      key, fields = next_key, {}
    end
    append(fields, field, records[i + 1])
  end
  if key then redis.call('HSET', key, unpack(fields)) end
end

-- The tickets granted by these arguments that are locked: decisions from `first` on, each `width` long, with its tickets
-- `at` behind its beginning.
local function find_locks(p, args, first, width, at)
  local tickets, locks = {}, {}
  for i = first, #args, width do
    if args[i] == 'G' or args[i] == 'A' then
      for t in each_ticket(args[i + at]) do
        tickets[#tickets + 1] = t
        locks[#locks + 1] = p .. 'l:' .. t
      end
    end
  end
  local locked = {}
  for start = 1, #locks, AT_ONCE do
    local last = math.min(start + AT_ONCE - 1, #locks)
    -- How many there are says one call, and they are none but after a fault.
    if redis.call('EXISTS', unpack(locks, start, last)) > 0 then
      for i = start, last do
        if redis.call('EXISTS', locks[i]) == 1 then locked[#locked + 1] = tickets[i] end
      end
    end
  end
  return locked
end

-- The place has a record, whatever its line says.
local function set_apart(m, p, pos, changed)
  redis.call('SETBIT', p .. 'away', pos, 1)
  redis.call('HINCRBY', m, 'apart', 1)
  changed[#changed + 1] = '-' .. pos
end

-- KEYS m; ARGV a version of the tickets. From now on nothing is granted from a map of an earlier one, for a moment. The
-- tickets that somebody has until then.
local function bar_grants(keys, args)
  local m = keys[1]
  if redis.call('EXISTS', m) == 0 or redis.call('HGET', m, 'state') == 'lost' then return {'missing'} end
  redis.call('HSET', m, 'least_map', args[1], 'barred_until', string.format('%.0f', now_ms(m) + BAR_MS))
  return {'ok', redis.call('GET', prefix(m) .. 'b') or ''}
end

-- Whether the owner's map is too old to grant from.
local function is_barred(m)
  local v = redis.call('HMGET', m, 'barred_until', 'least_map', 'map')
  return v[1] and now_ms(m) < tonumber(v[1]) and (tonumber(v[3] or '') or 0) < tonumber(v[2])
end

-- What a batch of decisions writes, gathered so that it takes few calls.
local function gather(m)
  return {changed = {}, holds = {}, bits = {}, records = {}, buys = false, listener = listener(m)}
end

-- Tickets are held for a place from now on, or paid for at once: `method` is how, and behind a blank the client. `hold`:
-- for how long they are locked, or '' while the event's clock stands still.
local function grant(m, p, to, hold, deadline, pos, key, user, tickets, amount, method, place)
  if to.listener then tell(to.listener, 'g', pos, key, tickets, amount, to.ends, place, user, '') end
  for t in each_ticket(tickets) do
    if method == '' and hold ~= '' then
      redis.call('SET', p .. 'l:' .. t, pos, 'PX', hold)
    else
      redis.call('SET', p .. 'l:' .. t, pos)
    end
    append(to.bits, 'SET', 'u1')
    append(to.bits, t, '1')
  end
  if method == '' then
    append(to.holds, deadline, pos)
    append(to.records, pos, record_text('R', '0', deadline, amount, tickets, '', key, place))
  else
    to.buys = true
    append(to.holds, '+inf', pos)
    append(to.records, pos, record_text('C', '1', deadline, amount, tickets, '', key, place))
    local card, client = string.match(method, '^(%S*) ?(.*)$')
    add_confirmation(m, pos, {try = 1, tickets = tickets, amount = amount, place = place}, card, user, client)
  end
end

local function write_down(p, from)
  all_at_once('BITFIELD', p .. 'b', from.bits, 4)
  all_at_once('ZADD', p .. 'x', from.holds, 2)
  put_records(p, from.records)
end

-- KEYS m; ARGV fence, head, the tail as the owner saw it, sold out (1/0), free, held, sold, granted per second, idle
-- (1/0), marks of lines ("<line>:<position>:<ordinal>", both empty where nobody waits whom the head has passed; by
-- commas), lines that end ("<line>/<from>/<left>/<reason>"), then 9 for each decision: kind (G granted, A granted out of
-- turn, J rejected), position, ordinal, line (0: waits alone), user key, tickets, amount or how many are left, payment
-- method or reason,
-- user
local function decide(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  if #args >= 12 and is_barred(m) then return {'conflict', ''} end
  local conflicts = find_locks(p, args, 12, 9, 5)
  if #conflicts > 0 then return {'conflict', table.concat(conflicts, ',')} end
  local v = redis.call('HMGET', m, 'hold_ms', 'state', 'tail', 'head', 'sold_out', 'restoring_until',
    'sold_out_up_to')
  if v[2] == 'lost' then return {'missing'} end
  local hold, state, tail, is_restoring = v[1], v[2], v[3], v[6]
  local now = now_ms(m)
  local clock, stands = event_ms(m, now)
  local deadline = string.format('%.0f', clock + tonumber(hold))
  local to, skipped, gone = gather(m), {}, 0
  -- The event's clock is behind by as long as its sale has stood still.
  to.ends = string.format('%.0f', now + tonumber(hold))
  if stands then hold = '' end
  for i = 12, #args, 9 do
    local pos, line, key = args[i + 1], args[i + 3], args[i + 4]
    local is_there
    if line == '0' then
      is_there = redis.call('ZREMRANGEBYSCORE', p .. 'y', pos, pos) == 1
    else
      is_there = redis.call('XDEL', p .. 'q:' .. line, pos .. '-' .. args[i + 2]) == 1
      if is_there then gone = gone + 1 end
    end
    if not is_there then
      append(skipped, pos)  -- cancelled since the owner read it
    else
      append(to.changed, pos)
      if args[i] == 'A' then set_apart(m, p, pos, to.changed) end
      local place = line ~= '0' and line .. '.' .. args[i + 2] or ''
      if args[i] ~= 'J' then
        grant(m, p, to, hold, deadline, pos, key, args[i + 8], args[i + 5], args[i + 6], args[i + 7], place)
      else
        append(to.records, pos, record_text('J', '0', '0', args[i + 6], '', args[i + 7], key, place))
        let_user_go(p, key, pos, 0)
      end
    end
  end
  write_down(p, to)
  local version = redis.call('HINCRBY', m, 'version', 1)
  local function mark(line, position, ordinal, ends)
    local text = version .. ':' .. position .. ':' .. ordinal .. ':' .. ends
    redis.call('HSET', p .. 'km', line, text)
    append(to.changed, '=' .. line .. ':' .. text)
  end
  for line, position, ordinal in string.gmatch(args[10], '(%d+):(%d*):(%d*)') do
    local _, _, ends = get_mark(p, line)
    mark(line, position, ordinal, ends)
  end
  for line, from, left, reason in string.gmatch(args[11], '(%d+)/(%d+)/(%d+)/([%l_]+)') do
    -- Also those whom the head has not come to: whatever is before them, it is the same for them.
    local _, _, ends = get_mark(p, line)
    local count = redis.call('XLEN', p .. 'q:' .. line)
    gone = gone + count
    redis.call('HINCRBY', m, 'ended_with_line', count)
    redis.call('UNLINK', p .. 'q:' .. line)
    local with = with_end(ends, from, tail, reason, left, now, tonumber(v[7]))
    mark(line, '', '', with)
    note_end(p, '=' .. line .. '/' .. string.match(with, '[^+]+$'))
  end
  -- A close that came since the owner read has moved the head past everyone: it never goes back.
  local head = math.max(tonumber(args[2]), tonumber(v[4]))
  redis.call('HSET', m, 'head', head, 'free', args[5], 'held', args[6], 'sold', args[7],
    'granted_per_second', args[8], 'idle', args[9])
  if gone > 0 then redis.call('HINCRBY', m, 'waiting', -gone) end
  if args[4] == '1' and state ~= 'closed' then
    sell_out(m, head, tail, v[5])
  elseif args[9] == '1' and not is_restoring and tonumber(tail) > tonumber(args[3]) then
    -- Somebody has joined between the owner's read and this call, and has found it not idle.
    redis.call('HSET', m, 'idle', '0')
    wake_owner(m)
  end
  if to.buys then wake_confirm(m) end
  announce(m, to.changed)
  return {'ok', table.concat(skipped, ',')}
end

-- KEYS m; ARGV position, at most, numbers of lines that are left out (by commas). The next in line after the position,
-- over all lines in the order of their positions: the tail, whether nobody is behind them, and id, line, payload or
-- '', user of each.
local function read(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local limit, left_out = tonumber(args[2]), {}
  for line in string.gmatch(args[3], '%d+') do left_out[line] = true end
  local tail, is_restoring = unpack(redis.call('HMGET', m, 'tail', 'restoring_until'))
  if not tail then return {'missing'} end
  local from = string.format('%.0f-0', tonumber(args[1]) + 1)
  local lines = {}
  for _, line in ipairs(redis.call('SMEMBERS', p .. 'ka')) do
    if not left_out[line] then lines[#lines + 1] = {line = line, from = from} end
  end
  -- Of each as much as may be needed, were they equally long.
  local share = math.max(1, math.min(limit, math.floor(2 * limit / math.max(1, #lines))))
  local function fill(of)
    of.entries = redis.call('XRANGE', p .. 'q:' .. of.line, of.from, '+', 'COUNT', share)
    of.next = 1
    local last = of.entries[#of.entries]
    if not last then return false end
    of.from = '(' .. last[1]
    of.position = tonumber(string.match(of.entries[1][1], '^%d+'))
    return true
  end
  -- A heap by position, the first at the top.
  local heap = {}
  local function sink(i)
    local of = heap[i]
    while true do
      local child = 2 * i
      if child > #heap then break end
      if child < #heap and heap[child + 1].position < heap[child].position then child = child + 1 end
      if of.position <= heap[child].position then break end
      heap[i] = heap[child]
      i = child
    end
    heap[i] = of
  end
  for _, of in ipairs(lines) do
    if fill(of) then
      heap[#heap + 1] = of
    elseif redis.call('EXISTS', p .. 'q:' .. of.line) == 0 or redis.call('XLEN', p .. 'q:' .. of.line) == 0 then
      redis.call('SREM', p .. 'ka', of.line)
    end
  end
  for i = math.floor(#heap / 2), 1, -1 do sink(i) end
  local found = {}
  while #heap > 0 and #found < 4 * limit do
    local of = heap[1]
    local id, fields = of.entries[of.next][1], of.entries[of.next][2]
    local payload, user = '', fields[2]
    if fields[3] then payload, user = fields[2], fields[4] end
    local n = #found
    found[n + 1], found[n + 2], found[n + 3], found[n + 4] = id, of.line, payload, user
    of.next = of.next + 1
    local following = of.entries[of.next]
    if following then
      of.position = tonumber(string.match(following[1], '^%d+'))
    elseif #of.entries < share or not fill(of) then
      heap[1] = heap[#heap]
      heap[#heap] = nil
    end
    if heap[1] then sink(1) end
  end
  -- Who comes back to a line that was lost is not in it yet, and has a place before the tail.
  return {'ok', tail, #heap == 0 and not is_restoring and 1 or 0, found}
end

-- KEYS m; ARGV fence, then position, payload, user, user key of each. Brings those who stand in the one line of the
-- version before into the lines of their wishes, in order, and forgets who of them stood by. Once nobody is left there,
-- whoever comes goes to those lines, and the version before serves this event no more. How many are left.
local function split(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  local v = redis.call('HMGET', m, 'split', 'head', 'state')
  if v[1] or not v[3] or v[3] == 'lost' then return {'ok', 0} end
  for i = 2, #args, 4 do
    local pos, payload, user, key = args[i], args[i + 1], args[i + 2], args[i + 3]
    if redis.call('XDEL', p .. 'q', pos .. '-0') == 1 then
      local wish = wish_of(payload)
      local line, ordinal = stand_in_line(m, p, wish, 1, true)
      add_to_line(p, line, pos, ordinal, wish, payload, user)
      local live, owned, left, _, refused = get_user(p, key)
      if live == tonumber(pos) then put_user(p, key, live, owned, left, line, refused) end
      local r = get_record(p, pos)
      if r and r.state == 'B' then redis.call('HDEL', record_key(p, pos)) end
      if tonumber(pos) <= tonumber(v[2]) and get_mark(p, line) == '' then
        redis.call('HSET', p .. 'km', line, '0:' .. string.format('%.0f', tonumber(pos) - 1) .. ':' .. ordinal - 1 .. ':')
      end
    end
  end
  for _, pos in ipairs(redis.call('ZRANGE', p .. 'gone', 0, 999)) do
    redis.call('SETBIT', p .. 'away', pos, 1)
    redis.call('ZREM', p .. 'gone', pos)
  end
  local rest = redis.call('XLEN', p .. 'q') + redis.call('ZCARD', p .. 'gone')
  if rest == 0 then
    local waiting = 0
    for _, line in ipairs(redis.call('HKEYS', p .. 'kn')) do waiting = waiting + redis.call('XLEN', p .. 'q:' .. line) end
    redis.call('HSET', m, 'split', '1', 'waiting', waiting)
    redis.call('HINCRBY', m, 'apart', 1)
  end
  return {'ok', rest}
end

-- KEYS m; ARGV fence, new head, sold out (1/0), free, held, sold, granted per second, idle (1/0), then 7 for
-- each decision: kind (G granted, B standby, S sold out, J rejected), position, user key, user, tickets,
-- amount, payment method or reason. Of the version before, for lines that are not split yet.
local function commit(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  if #args >= 9 and is_barred(m) then return {'conflict', ''} end
  local conflicts = find_locks(p, args, 9, 7, 4)
  if #conflicts > 0 then return {'conflict', table.concat(conflicts, ',')} end
  local v = redis.call('HMGET', m, 'hold_ms', 'state')
  if v[2] == 'lost' then return {'missing'} end
  local hold, queue = v[1], p .. 'q'
  local clock, stands = event_ms(m)
  local deadline = string.format('%.0f', clock + tonumber(hold))
  local to, skipped = gather(m), {}
  to.ends = string.format('%.0f', now_ms(m) + tonumber(hold))
  if stands then hold = '' end
  for i = 9, #args, 7 do
    local kind, pos, user = args[i], args[i + 1], args[i + 2]
    if kind == 'B' then
      -- Its entry stays in the stream until it is decided, for the next owner to find.
      if redis.call('XLEN', queue) > 0 and #redis.call('XRANGE', queue, pos .. '-0', pos .. '-0') == 1 then
        append(to.records, pos, record_text('B', '0', '0', '0', '', '', user, ''))
        append(to.changed, pos)
      else
        append(skipped, pos)
      end
    elseif redis.call('XDEL', queue, pos .. '-0') == 0 then
      append(skipped, pos)  -- cancelled since the owner read it
    else
      append(to.changed, pos)
      if kind == 'G' then
        grant(m, p, to, hold, deadline, pos, user, args[i + 3], args[i + 4], args[i + 5], args[i + 6], '')
      else
        append(to.records, pos, record_text(kind, '0', '0', '0', '', kind == 'J' and args[i + 6] or '', user, ''))
        let_user_go(p, user, pos, 0)
      end
    end
  end
  write_down(p, to)
  local ends = redis.call('HMGET', m, 'tail', 'head', 'state', 'sold_out', 'restoring_until')
  local tail, state, is_restoring = ends[1], ends[3], ends[5]
  -- A close that came since the owner read has moved the head past everyone: it never goes back.
  local head = math.max(tonumber(args[2]), tonumber(ends[2]))
  -- Nobody waits behind the head: those up to the tail have left, and the next to join is the first in line.
  if args[8] == '1' and not is_restoring
    and #redis.call('XRANGE', p .. 'q', string.format('%.0f-0', head + 1), '+', 'COUNT', 1) == 0
  then
    head = tonumber(tail)
  end
  redis.call('HSET', m, 'head', head, 'free', args[4], 'held', args[5], 'sold', args[6],
    'granted_per_second', args[7], 'idle', args[8])
  if args[3] == '1' and state ~= 'closed' then sell_out(m, head, tail, ends[4]) end
  -- Somebody may have joined between the owner's read and this call, and have found it not idle.
  if args[8] == '1' and args[3] ~= '1' and not is_restoring and tonumber(tail) > head then
    redis.call('HSET', m, 'idle', '0')
    wake_owner(m)
  end
  redis.call('HINCRBY', m, 'version', 1)
  if to.buys then wake_confirm(m) end
  announce(m, to.changed)
  return {'ok', table.concat(skipped, ',')}
end

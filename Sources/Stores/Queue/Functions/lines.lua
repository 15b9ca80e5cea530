-- Who stands where: a line for each kind of wish, and what is said at its end.

-- A line for each kind of wish: whoever cannot be served keeps nobody waiting but those who want the same.
local ORDINALS = 4294967296

-- What the wishes of one line have in common: everything but the most that each may cost (`m` and a number), where a card
-- comes from (`c` and a client's name) and a payment method; exact seats share one.
local function wish_of(payload)
  local wish = string.match(payload, '^[^ m]*')
  return string.sub(wish, 1, 1) == 't' and 't' or wish
end

-- What an idempotency key came with: the same card is the same from anywhere.
local function wish_from_anywhere(payload)
  local wish = string.gsub(payload, '^([^ m]*)mc%S*', '%1')
  return (string.gsub(wish, '^([^ m]*m%d+)c%S*', '%1'))
end

-- The number of the wish's line and how many have stood in it, with those who come now; nothing if there are too many
-- lines.
local function stand_in_line(m, p, wish, newcomers, whatever)
  local value = redis.call('HINCRBY', p .. 'k', wish, newcomers)
  if value >= ORDINALS then return math.floor(value / ORDINALS), value % ORDINALS end
  if redis.call('HLEN', p .. 'k') > MAX_LINES and not whatever then
    redis.call('HDEL', p .. 'k', wish)
    return nil
  end
  local line = redis.call('HINCRBY', m, 'lines', 1)
  redis.call('HINCRBY', p .. 'k', wish, string.format('%.0f', line * ORDINALS))
  redis.call('HSET', p .. 'kn', line, wish)
  return line, newcomers
end

local function file_in_line(p, line, position, ordinal, wish, payload, user)
  local id = position .. '-' .. ordinal
  if payload == wish then
    redis.call('XADD', p .. 'q:' .. line, id, 'u', user)
  else
    redis.call('XADD', p .. 'q:' .. line, id, 'r', payload, 'u', user)
  end
end

local function add_to_line(p, line, position, ordinal, wish, payload, user)
  file_in_line(p, line, position, ordinal, wish, payload, user)
  redis.call('SADD', p .. 'ka', line)
end

-- The entry of a place in its line, if it waits there.
local function find_in_line(p, line, pos)
  return line ~= '' and redis.call('XRANGE', p .. 'q:' .. line, pos, pos)[1] or nil
end

-- The line and ordinal of a user's live place, as its id says them; 0 and 0 where they are not known, as of a place that
-- was kept after the end of its line.
local function place_in_line(p, pos, line)
  local entry = find_in_line(p, line, pos)
  if entry then return line, string.match(entry[1], '-(%d+)$') end
  local r = get_record(p, pos)
  if r then
    local number, ordinal = string.match(r.place, '^(%d+)%.(%d+)$')
    return number or 0, ordinal or 0
  end
  -- Who comes back to a line that was lost has the place behind all who may be before them.
  if line ~= '' and redis.call('ZCOUNT', p .. 'w', pos, pos) > 0 then return line, pos end
  return 0, 0
end

-- Takes a place out of its line, or from those who wait alone. False if it is in neither.
local function leave_line(m, p, pos, line)
  local entry = find_in_line(p, line, pos)
  if entry then
    redis.call('XDEL', p .. 'q:' .. line, entry[1])
    redis.call('HINCRBY', m, 'waiting', -1)
    return true
  end
  if redis.call('ZREMRANGEBYSCORE', p .. 'y', pos, pos) == 1 then return true end
  return redis.call('XDEL', p .. 'q', pos .. '-0') == 1
end

-- Nobody waits any more.
local function clear_lines(m)
  local p = prefix(m)
  local keys = {p .. 'q', p .. 'ka', p .. 'y'}
  for _, line in ipairs(redis.call('HKEYS', p .. 'kn')) do keys[#keys + 1] = p .. 'q:' .. line end
  for start = 1, #keys, AT_ONCE do
    redis.call('UNLINK', unpack(keys, start, math.min(start + AT_ONCE - 1, #keys)))
  end
  redis.call('HSET', m, 'waiting', 0)
end

-- Everyone in line ends, told by what is said of the line as a whole. The audit counts whom nothing else is known of.
local function end_lines(m)
  local v = redis.call('HMGET', m, 'waiting', 'split')
  if v[2] then
    redis.call('HINCRBY', m, 'ended_in_mass', (tonumber(v[1]) or 0) + redis.call('ZCARD', prefix(m) .. 'w'))
  end
  clear_lines(m)
  redis.call('UNLINK', prefix(m) .. 'w', prefix(m) .. 'h')
  redis.call('HDEL', m, 'restoring_until')
end

-- Everybody in line is told that everything is sold; not of a sale that is closed, as they were told that.
local function sell_out(m, head, tail, was_sold_out)
  -- Told twice, as after a lost answer, the head is the tail already and says nothing of who was decided.
  if was_sold_out ~= '1' then
    redis.call('HSET', m, 'decided_up_to', head)
    local to = listener(m)
    if to then tell(to, 's', '0', '', '', '0', '', '', '', '') end
  end
  redis.call('HSET', m, 'sold_out', '1', 'sold_out_up_to', tail, 'head', tail)
  note_end(prefix(m), '*' .. tail)
  end_lines(m)
end

-- A mark of a line: version, position, ordinal, ends.
local function get_mark(p, line)
  local text = redis.call('HGET', p .. 'km', line)
  if not text then return '', '', '' end
  local _, position, ordinal, ends = string.match(text, '^(%d*):(%d*):(%d*):(.*)$')
  return position, ordinal, ends
end

-- How a place's line ended for it, if it did: until when its user may answer, reason, how many are left.
local function end_of_line(p, line, position)
  if line == '' then return nil end
  local _, _, ends = get_mark(p, line)
  for up_to, till, left, reason in string.gmatch(ends, '%d+/(%d+)/(%d+)/(%d+)/([%l_]+)') do
    if position <= tonumber(up_to) then return tonumber(till), reason, left end
  end
  return nil
end

-- Ends are kept one by one for as long as they may be answered, those of some seconds as one, and no more than this.
local ENDS_AS_ONE_MS = 5000
local MAX_ENDS = 20

-- The line's ends with one more: of everyone in it after `from` and up to `up_to`; where `from` is 0, nobody was served
-- since the last. Not of those up to `told`, who ended with everybody before some came back that had been sold.
local function with_end(ends, from, up_to, reason, left, now, told)
  local list = {}
  for one in string.gmatch(ends, '[^+]+') do list[#list + 1] = one end
  local first, last, till, same = string.match(list[#list] or '', '^(%d+)/(%d+)/(%d+)/(.*)$')
  local words = left .. '/' .. reason
  if from == '0' and same == words and tonumber(till) >= now + ANSWER_MS - ENDS_AS_ONE_MS
    and tonumber(last) >= told
  then
    list[#list] = first .. '/' .. up_to .. '/' .. till .. '/' .. words
  else
    if from == '0' then from = last or '0' end
    if tonumber(from) < told then from = string.format('%.0f', told) end
    list[#list + 1] = from .. '/' .. up_to .. '/' .. string.format('%.0f', now + ANSWER_MS) .. '/' .. words
  end
  -- The oldest can be answered no more, and are told as the one behind them.
  while #list > MAX_ENDS do table.remove(list, 1) end
  return table.concat(list, '+')
end

-- Whether who wanted `old` takes less, or is less particular, with `new`.
local function is_looser(new, old)
  local n, n_section, n_side = string.match(new, '^(%d+)s?(%d*)(a?)$')
  local o, o_section, o_side = string.match(old, '^(%d+)s?(%d*)(a?)$')
  return n and o and new ~= old and tonumber(n) <= tonumber(o) and (n_section == o_section or n_section == '')
    and (n_side == o_side or n_side == '')
end

-- The user's line has ended, a moment ago, since what it wished for cannot be had; who then wishes for less keeps the
-- place, once, and waits there alone.
local function answer_end(m, p, args, live, line)
  local till = end_of_line(p, line, live)
  local old = redis.call('HGET', p .. 'kn', line)
  if not till or now_ms(m) > till or not old or not is_looser(wish_of(args[3]), old) then return false end
  if redis.call('ZCARD', p .. 'y') >= MAX_ALONE then return false end
  redis.call('ZADD', p .. 'y', live, args[3] .. '\n' .. args[4])
  put_record(p, live, {state = 'B', try = 0, deadline = 0, amount = '0', tickets = '', reason = '', user = args[1]})
  redis.call('SETBIT', p .. 'away', live, 1)
  redis.call('HINCRBY', m, 'apart', 1)
  redis.call('HINCRBY', m, 'ended_with_line', -1)
  redis.call('RPUSH', p .. 'f', 'y' .. live)
  wake_owner(m)
  redis.call('HINCRBY', m, 'version', 1)
  announce(m, {'-' .. live})
  return true
end

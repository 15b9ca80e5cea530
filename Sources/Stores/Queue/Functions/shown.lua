-- Holds that Redis has forgotten and somebody else remembers.

-- KEYS m; ARGV 6 for each: position, user key, life in which it was granted, deadline, amount, tickets. What was held
-- for places that Redis has back in line, from whoever remembers: the owner gives the seats back, if they are nobody
-- else's. For each 1 where it is to decide, 2 where the place is decided, 0 where it is somebody else's, the time of the
-- hold is over, or the seats are. Of an earlier life only those count who came back into this one with their place.
local function show_holds(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local v = redis.call('HMGET', m, 'generation', 'state')
  if not v[1] or v[2] == 'lost' then return {'missing'} end
  local now, shown, answer = event_ms(m), redis.call('HLEN', p .. 'h'), {'ok'}
  for i = 1, #args, 6 do
    local pos, user, r = args[i], args[i + 1], get_record(p, args[i])
    local is_waiting = get_user(p, user) == tonumber(pos) and (not r or r.state == 'B')
    local told = r and r.state ~= 'B' and r.user == user and 2 or 0
    if is_waiting and redis.call('HEXISTS', p .. 'h', pos) == 1 then
      told = 1
    elseif is_waiting and shown < MAX_SHOWN and now < tonumber(args[i + 3])
      and redis.call('GETBIT', p .. 'hl', pos) == 0
      and (v[1] == args[i + 2] or redis.call('ZCOUNT', p .. 'w', pos, pos) == 1)
    then
      redis.call('HSET', p .. 'h', pos, table.concat({args[i + 3], args[i + 4], args[i + 5], user}, '|'))
      told, shown = 1, shown + 1
    end
    answer[#answer + 1] = told
  end
  if shown > 0 then wake_owner(m) end
  return answer
end

-- KEYS m; ARGV position and user key of each. Where each of them stands in line: id, line, payload, user of its entry,
-- as `read` has them; four times '' where it does not.
local function find(keys, args)
  local p = prefix(keys[1])
  local found = {'ok'}
  for i = 1, #args, 2 do
    local pos = args[i]
    local live, _, _, line = get_user(p, args[i + 1])
    local entry = live == tonumber(pos) and find_in_line(p, line, pos)
    local alone = live == tonumber(pos) and not entry and redis.call('ZRANGEBYSCORE', p .. 'y', pos, pos)[1]
    if entry then
      local fields = entry[2]
      append(found, entry[1], line)
      append(found, fields[3] and fields[2] or '', fields[4] or fields[2])
    elseif alone then
      local payload, user = string.match(alone, '^([^\n]*)\n(.*)$')
      append(found, pos .. '-0', 0)
      append(found, payload, user)
    else
      append(found, '', '')
      append(found, '', '')
    end
  end
  return found
end

-- KEYS m; ARGV fence, then position and whether its hold was given back (1/0) of each. They are not shown again.
local function settle_holds(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  local changed = {}
  for i = 2, #args, 2 do
    redis.call('HDEL', p .. 'h', args[i])
    if args[i + 1] == '0' then redis.call('SETBIT', p .. 'hl', args[i], 1) end
    changed[#changed + 1] = args[i]
  end
  announce(m, changed)
  return {'ok'}
end

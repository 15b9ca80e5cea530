-- Confirm, cancel, and what became of a payment.

-- A place of an earlier life of the queue says nothing about this one.
local function is_generation(m, generation)
  local v = redis.call('HMGET', m, 'generation', 'state')
  return v[1] == generation and v[2] ~= 'lost'
end

local function are_same(tickets, others)
  local known, count = {}, 0
  for t in each_ticket(tickets) do
    known[t] = true
    count = count + 1
  end
  for t in each_ticket(others) do
    if not known[t] then return false end
    count = count - 1
  end
  return count == 0
end

-- Whether the seats were chosen by name, or it is not known how: no others are as good then.
local function is_by_name(p, r)
  local line = string.match(r.place, '^(%d+)%.')
  local wish = line and redis.call('HGET', p .. 'kn', line)
  return not wish or wish == 't'
end

-- KEYS m; ARGV position, user key, payment method or '' for what is free, user, idempotency key or '', generation, the
-- tickets that the buyer was told of or nothing, what the place is called that the buyer comes from, whether other seats
-- will do if the payment comes late (1/0, nothing from a server of the version before, which does not ask)
local function confirm(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local pos = args[1]
  if not is_generation(m, args[6]) then return {'missing'} end
  local r = get_record(p, pos)
  if not r then return {'not_reserved'} end
  if r.user ~= args[2] then return {'forbidden'} end
  local place = pos .. ' ' .. args[6]
  local ok = args[9] == '1' and (is_by_name(p, r) and 'ok_by_name' or 'ok_agreed') or 'ok'
  if r.state == 'C' and args[9] and (args[9] == '1') ~= has_agreed(p, r, place) then return {'agreement'} end
  if r.state == 'C' or r.state == 'P' then return {has_agreed(p, r, place) and ok or 'ok'} end
  local came_with = args[9] == '1' and args[3] .. '\n1' or args[3]
  -- A repetition of a call whose card was declined since is not a wish to try again.
  for try = 1, args[5] ~= '' and math.max(1, r.try) or 0 do
    local named, is_same = recall(p, r.user, r.user .. try, args[6], args[5], came_with)
    if named then return {is_same and named == tonumber(pos) and ok or 'mismatch'} end
  end
  if r.state == 'X' or r.state == 'd' then return {'expired'} end
  if r.state ~= 'R' and r.state ~= 'D' then return {'not_reserved'} end
  if event_ms(m) >= r.deadline then return {'expired'} end
  local is_stopped, state = unpack(redis.call('HMGET', m, 'stopped', 'state'))
  -- A sale that is open takes payments, whatever was said before: the version before opens it without a word of that.
  if is_stopped == '2' or is_stopped == '1' and state ~= 'open' then return {state == 'closed' and 'closed' or 'stopped'} end
  if (args[7] or '') ~= '' and not are_same(r.tickets, args[7]) then return {'hold_lost'} end
  if r.try >= MAX_TRIES then return {'too_often'} end
  if args[3] == '' and r.amount ~= '0' then return {'method_required'} end
  for t in each_ticket(r.tickets) do
    local holder = redis.call('GET', p .. 'l:' .. t)
    if holder and holder ~= pos then return {'expired'} end
  end
  for t in each_ticket(r.tickets) do redis.call('SET', p .. 'l:' .. t, pos) end
  r.state, r.try, r.reason = 'C', r.try + 1, ''
  remember_call(p, r.user, r.user .. r.try, args[6], args[5], came_with, pos)
  if args[9] == '1' then remember_agreement(p, r, place) end
  put_record(p, pos, r)
  redis.call('ZADD', p .. 'x', '+inf', pos)
  add_confirmation(m, pos, r, args[3], args[4], args[8], '', args[9] == '1' and (ok == 'ok_agreed' and '1' or 'n') or '')
  wake_confirm(m)
  announce(m, {pos})
  return {ok}
end

-- KEYS m; ARGV position, try, generation, what the buyer is to do. While their payment is under way.
local function ask_buyer(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_generation(m, args[3]) then return {'missing'} end
  local r = get_record(p, args[1])
  if not r or r.state ~= 'C' or r.try ~= tonumber(args[2]) then return {'moved'} end
  if r.reason ~= args[4] then
    r.reason = args[4]
    put_record(p, args[1], r)
    announce(m, {args[1]})
  end
  return {'ok'}
end

local function add_bits(list, tickets, bit)
  for t in each_ticket(tickets) do
    append(list, 'SET', 'u1')
    append(list, t, bit)
  end
end

-- KEYS m; ARGV 6 for each: outcome (P purchased, D declined, X lost, J refused), position, try, reason, entry id or '',
-- "<generation>", "<generation>:<user key>" or "<generation>:<user key>:<tickets>". Whoever else has the place by now is
-- not told how it ended.
local function finish(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local stream = partition(m) .. 'c'
  local changed, ids, sold = {}, {}, {}
  local v = redis.call('HMGET', m, 'generation', 'state', 'per_user_limit')
  -- In a line that is lost nothing is held any more: there an entry only leaves its stream.
  local generation = v[2] ~= 'lost' and v[1]
  local now, stands = event_ms(m)
  for i = 1, #args, 6 do
    local outcome, pos, try, reason, id = args[i], args[i + 1], tonumber(args[i + 2]), args[i + 3], args[i + 4]
    local life, user, bought = string.match(args[i + 5], '^(%d+):?([^:]*):?(.*)$')
    local r = life == generation and get_record(p, pos)
    if r and r.state == 'C' and r.try == try and (user == '' or r.user == user) then
      changed[#changed + 1] = pos
      r.state, r.reason = outcome, reason
      if outcome == 'P' and bought ~= '' and bought ~= r.tickets and not are_same(bought, r.tickets) then
        -- What was bought counts, whatever Redis had forgotten and promised since.
        unlock(p, pos, r.tickets)
        redis.call('RPUSH', p .. 'f', 'l' .. r.tickets)
        r.tickets = bought
      end
      if outcome == 'D' then
        redis.call('ZADD', p .. 'x', string.format('%.0f', r.deadline), pos)
        for t in each_ticket(r.tickets) do
          -- While the clock stands still the lock stays; whoever has it go on again sees to that.
          if not stands then
            redis.call('PEXPIRE', p .. 'l:' .. t, string.format('%.0f', math.max(0, r.deadline - now)))
          end
        end
      else
        redis.call('ZREM', p .. 'x', pos)
        unlock(p, pos, r.tickets)
        let_user_go(p, r.user, pos, outcome == 'P' and count_tickets(r.tickets) or 0)
        if outcome ~= 'P' then tell_end(m, pos, r, outcome == 'J' and 'rejected' or 'expired') end
        if outcome == 'J' then
          if reason == 'limit_exceeded' and v[3] then
            own_at_least(p, r.user, tonumber(v[3]) + 1 - count_tickets(r.tickets))
          end
          -- Nobody else's: they go back to the line.
          mark(p, r.tickets, 0)
          redis.call('RPUSH', p .. 'f', 'r' .. r.tickets)
          wake_owner(m)
        else
          redis.call('RPUSH', p .. 'f', (outcome == 'P' and 's' or 'l') .. r.tickets)
        end
      end
      if outcome == 'P' then add_bits(sold, r.tickets, '1') end
      put_record(p, pos, r)
    end
    if id ~= '' then ids[#ids + 1] = id end
  end
  all_at_once('BITFIELD', p .. 'o', sold, 4)
  -- A group is bounded by what the worker has under way.
  if #ids > 0 then
    redis.call('XACK', stream, 'workers', unpack(ids))
    redis.call('XDEL', stream, unpack(ids))
  end
  if #changed > 0 then announce(m, changed) end
  return {'ok'}
end

-- KEYS m; ARGV position, user key, generation
local function cancel(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local pos, user = args[1], args[2]
  local v = redis.call('HMGET', m, 'head', 'sold_out_up_to', 'closed_up_to', 'tail', 'split')
  if not v[1] or not is_generation(m, args[3]) then return {'missing'} end
  local r = get_record(p, pos)
  if not r or r.state == 'B' then
    if r and r.user ~= user then return {'forbidden'} end
    if tonumber(pos) <= math.max(tonumber(v[2]), tonumber(v[3])) then return {'ended'} end
    -- Whose place it is says the user's own entry: nobody is in line twice.
    local live, _, _, line = get_user(p, user)
    if not r and live ~= tonumber(pos) then
      return {tonumber(pos) <= tonumber(v[4]) and 'forbidden' or 'unknown'}
    end
    if not leave_line(m, p, pos, line) and redis.call('ZREMRANGEBYSCORE', p .. 'w', pos, pos) == 0 then
      return {end_of_line(p, line, live) and 'ended' or 'unknown'}
    end
    put_record(p, pos, {state = 'L', try = 0, deadline = 0, amount = '0', tickets = '', reason = '', user = user})
    let_user_go(p, user, pos, 0, true)
    if r then
      redis.call('RPUSH', p .. 'f', 'c' .. pos)
      wake_owner(m)
    end
    local changed = {pos}
    set_apart(m, p, pos, changed)
    if not v[5] then
      if tonumber(pos) > tonumber(v[1]) then redis.call('ZADD', p .. 'gone', pos, pos) end
      redis.call('ZREMRANGEBYSCORE', p .. 'gone', '-inf', v[1])
    end
    announce(m, changed)
    return {'ok'}
  end
  if r.user ~= user then return {'forbidden'} end
  if r.state == 'L' then return {'ok'} end
  if r.state == 'P' then return {'purchased'} end
  if r.state == 'C' then return {'confirming'} end
  if r.state ~= 'R' and r.state ~= 'D' then return {'ended'} end
  r.state = 'L'
  redis.call('ZREM', p .. 'x', pos)
  unlock(p, pos, r.tickets)
  mark(p, r.tickets, 0)
  let_user_go(p, user, pos, 0, true)
  put_record(p, pos, r)
  tell_end(m, pos, r, 'cancelled')
  redis.call('RPUSH', p .. 'f', 'r' .. r.tickets)
  wake_owner(m)
  announce(m, {pos})
  return {'ok'}
end

-- For how long a pause that comes from PostgreSQL may be under way already, by its clock, which may have stepped.
local TOLD_LATE_MS = 60000

-- Has the event's clock stand still, or go on. Locks end by Redis's own clock: they are brought in line by `renew_some`.
-- `before`: for how many ms it should have stood still by now.
local function keep_clock(m, stands, before)
  local v = redis.call('HMGET', m, 'stood', 'stands_since')
  if stands == (v[2] and true or false) then return end
  local now = now_ms(m)
  if stands then
    redis.call('HSET', m, 'stands_since', string.format('%.0f', now - math.max(0, before)))
  else
    redis.call('HSET', m, 'stood', string.format('%.0f', (tonumber(v[1] or '') or 0) + math.max(0, now - tonumber(v[2]))))
    redis.call('HDEL', m, 'stands_since')
  end
  redis.call('HSET', m, 'locks_from', '0')
end

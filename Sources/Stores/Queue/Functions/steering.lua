-- The operator's settings, what PostgreSQL says is sold, and repairs.

-- KEYS m; ARGV generation, state, queue limit, per-user limit, hold ms, rate or '', message, version of these
-- settings, create (1/0), for how many ms a line that was lost is restored at least or nothing, for how many after
-- the last one came back, for how many at most; for how many the sale has stood still before, and has stood still now
-- or '', by PostgreSQL's account, which counts where Redis has none; whether payments are stopped (1/0, 2 where the
-- event was cancelled). Older settings than those that are there change nothing.
local function configure(keys, args)
  local m = keys[1]
  local settings = partition(m) .. 'settings'
  local stood_before = tonumber(args[14] or '') or 0
  if redis.call('EXISTS', m) == 0 then
    if args[9] ~= '1' then
      redis.call('HDEL', settings, event(m))
      return {'missing'}
    end
    redis.call('HSET', m, 'generation', args[1], 'head', 0, 'tail', 0, 'free', 0, 'held', 0, 'sold', 0,
      'granted_per_second', 0, 'sold_out', 0, 'sold_out_up_to', 0, 'closed_up_to', 0, 'decided_up_to', 0,
      'version', 0, 'idle', 0,
      'split', 1, 'counts_ends', 1, 'mapped', redis.call('GET', partition(m) .. 'epoch') or '0')
    if (tonumber(args[13] or '') or 0) > 0 then redis.call('HSET', m, 'stood', args[13]) end
    local milliseconds = tonumber(args[10] or '') or 0
    if milliseconds > 0 then
      redis.call('HSET', m, 'restoring_until', string.format('%.0f', now_ms(m) + milliseconds),
        'restoring_quiet', args[11] or '0',
        'restoring_longest', string.format('%.0f', now_ms(m) + (tonumber(args[12] or '') or milliseconds)))
    end
    redis.call('HDEL', settings, event(m))
  elseif redis.call('HGET', m, 'state') == 'lost' then
    return {'missing'}
  else
    -- Told late, and not for the first time after a loss: what lies between is little.
    stood_before = math.min(stood_before, TOLD_LATE_MS)
  end
  redis.call('SADD', partition(m) .. 'events', event(m))
  if tonumber(args[8]) < tonumber(redis.call('HGET', settings, event(m)) or '0') then
    return {'ok', redis.call('HGET', m, 'generation')}
  end
  redis.call('HSET', settings, event(m), args[8])
  redis.call('HSET', m, 'state', args[2], 'queue_limit', args[3], 'per_user_limit', args[4], 'hold_ms', args[5],
    'rate', args[6], 'message', args[7])
  if args[15] then redis.call('HSET', m, 'stopped', args[15]) end
  keep_clock(m, args[2] == 'paused', stood_before)
  if args[2] == 'closed' then
    local v = redis.call('HMGET', m, 'tail', 'head', 'closed_up_to', 'sold_out')
    local tail, head = v[1], v[2]
    redis.call('HSET', m, 'closed_up_to', tail, 'head', tail)
    -- A line that was sold out has been decided up to where it was then, as has one that is told of its end twice.
    if tonumber(head) < tonumber(tail) or v[4] ~= '1' and v[3] ~= tail then
      redis.call('HSET', m, 'decided_up_to', head)
    end
    end_lines(m)
  end
  redis.call('HINCRBY', m, 'version', 1)
  wake_owner(m)
  announce(m, {})
  return {'ok', redis.call('HGET', m, 'generation')}
end

local function set_sold(p, tickets, bit)
  local bits = {}
  add_bits(bits, tickets, bit)
  all_at_once('BITFIELD', p .. 'o', bits, 4)
end

-- KEYS m; ARGV position, try, generation, reason, tickets, for how many ms at least. A sale was taken back whose money
-- could not be taken: its buyer has the hold again, for its whole time, to pay otherwise; all of these tickets. The owner
-- of the seats, who has them as sold, reads them anew. Where somebody else has one of them, or the buyer another place, or
-- no payment could begin, nothing is changed.
local function ask_again(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local pos, try, reason = args[1], tonumber(args[2]), args[4]
  local v = redis.call('HMGET', m, 'hold_ms', 'stopped', 'state')
  local hold = string.format('%.0f', math.max(tonumber(v[1]), tonumber(args[6] or '') or 0))
  if not is_generation(m, args[3]) then return {'missing'} end
  local r = get_record(p, pos)
  -- Asked before; they may be paying already.
  if r and (r.state == 'D' or r.state == 'C' or r.state == 'P') and (r.try > try or r.try == try and r.reason == reason) then
    return {'ok'}
  end
  if not r or r.state ~= 'P' or r.try ~= try or not are_same(r.tickets, args[5]) then return {'moved'} end
  -- As `confirm` has it: nobody is asked for what would be refused.
  if v[2] == '2' or v[2] == '1' and v[3] == 'closed' or r.try >= MAX_TRIES then return {'moved'} end
  local live, owned, left, _, refused = get_user(p, r.user)
  if live ~= 0 and live ~= tonumber(pos) then return {'moved'} end
  for t in each_ticket(r.tickets) do
    local holder = redis.call('GET', p .. 'l:' .. t)
    if holder and holder ~= pos then return {'moved'} end
  end
  local clock, stands = event_ms(m)
  r.state, r.reason, r.deadline = 'D', reason, clock + tonumber(hold)
  put_record(p, pos, r)
  put_user(p, r.user, tonumber(pos), math.max(owned - count_tickets(r.tickets), 0), left, '', refused)
  redis.call('ZADD', p .. 'x', string.format('%.0f', r.deadline), pos)
  for t in each_ticket(r.tickets) do
    if stands then redis.call('SET', p .. 'l:' .. t, pos) else redis.call('SET', p .. 'l:' .. t, pos, 'PX', hold) end
  end
  mark(p, r.tickets, 1)
  set_sold(p, r.tickets, '0')
  redis.call('RPUSH', p .. 'f', 'l' .. r.tickets)
  local to = listener(m)
  if to then
    local ends = string.format('%.0f', now_ms(m) + tonumber(hold))
    tell(to, 'g', pos, r.user, r.tickets, r.amount, ends, r.place, '', '', r.try)
  end
  redis.call('HINCRBY', m, 'version', 1)
  wake_owner(m)
  announce(m, {pos})
  return {'ok'}
end

-- KEYS m; ARGV bitmap of tickets that are sold. What was known as sold stays so.
local function note_sold(keys, args)
  local m = keys[1]
  if redis.call('EXISTS', m) == 0 then return {'missing'} end
  local o = prefix(m) .. 'o'
  redis.call('SET', o .. ':new', args[1])
  redis.call('BITOP', 'OR', o, o, o .. ':new')
  redis.call('DEL', o .. ':new')
  return {'ok'}
end

-- KEYS m; ARGV tickets that are not sold any more, by commas; whether the owner has them as sold, and is to read them
-- anew (1/0).
local function drop_sold(keys, args)
  local m = keys[1]
  local p = prefix(m)
  set_sold(p, args[1], '0')
  if args[2] == '1' and redis.call('EXISTS', m) == 1 then
    redis.call('RPUSH', p .. 'f', 'l' .. args[1])
    wake_owner(m)
  end
  return {'ok'}
end

-- KEYS m; ARGV generation and position of a purchase, user key, its tickets since, what they cost, what is said of it,
-- tickets that were given back, how many tickets the user has. The record tells how many fewer they are; of an earlier
-- life there is none, and the user's count is at most what is said.
local function give_back(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local v = redis.call('HMGET', m, 'generation', 'state')
  if not v[1] or v[2] == 'lost' then return {'missing'} end
  local pos, user = args[2], args[3]
  local live, owned, left, line, refused = get_user(p, user)
  if v[1] == args[1] then
    local r = get_record(p, pos)
    -- It is bought, and nobody was told so yet.
    if r and r.user == user and r.state == 'C' then return {'moved'} end
    if r and r.user == user and r.state == 'P' then
      local fewer = count_tickets(r.tickets) - count_tickets(args[4])
      if fewer > 0 then put_user(p, user, live, math.max(0, owned - fewer), left, line, refused) end
      r.tickets, r.amount, r.reason = args[4], args[5], args[6]
      put_record(p, pos, r)
    end
  elseif owned > tonumber(args[8]) then
    put_user(p, user, live, tonumber(args[8]), left, line, refused)
  end
  set_sold(p, args[7], '0')
  redis.call('HINCRBY', m, 'version', 1)
  announce(m, v[1] == args[1] and {pos} or {})
  return {'ok'}
end

-- KEYS m; ARGV position, state that the caller saw or '', outcome (P, C, D, an end, I index the hold again), try,
-- amount, tickets, those of them to be sold again, reason (of C the payment method), user key, of C the user,
-- "<line>.<ordinal>" or '' where there was no record. A record says what PostgreSQL says: for the audit, and for an
-- owner that Redis came back to.
local function repair(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local pos, outcome, tickets, free = args[1], args[3], args[6], args[7]
  if redis.call('EXISTS', m) == 0 then return {'missing'} end
  local r = get_record(p, pos)
  if (r and r.state or '') ~= args[2] then return {'moved'} end
  if outcome == 'P' and r and r.user ~= args[9] then return {'moved'} end
  if outcome == 'I' then
    if not r then return {'moved'} end
    redis.call('ZADD', p .. 'x', r.state == 'C' and '+inf' or string.format('%.0f', r.deadline), pos)
    return {'ok'}
  end
  if outcome == 'C' then
    if r and r.user ~= args[9] then return {'moved'} end
    local live, owned, left, line, refused = get_user(p, args[9])
    leave_line(m, p, pos, live == tonumber(pos) and line or '')
    local deadline = r and r.deadline or 0
    if deadline == 0 then deadline = event_ms(m) + tonumber(redis.call('HGET', m, 'hold_ms')) end
    if r then unlock(p, pos, r.tickets) end
    -- It was told as bought, taken back since, and is paid otherwise.
    if r and r.state == 'P' then
      owned = math.max(owned - count_tickets(r.tickets), 0)
      set_sold(p, r.tickets, '0')
    end
    r = {state = 'C', try = tonumber(args[4]), deadline = deadline, amount = args[5], tickets = tickets, reason = '',
         user = args[9], place = r and r.place ~= '' and r.place or args[11]}
    put_record(p, pos, r)
    put_user(p, args[9], tonumber(pos), owned, left, '', refused)
    redis.call('ZADD', p .. 'x', '+inf', pos)
    for t in each_ticket(tickets) do redis.call('SET', p .. 'l:' .. t, pos) end
    mark(p, tickets, 1)
    add_confirmation(m, pos, r, args[8], args[10])
    wake_confirm(m)
    redis.call('HINCRBY', m, 'version', 1)
    local changed = {pos}
    set_apart(m, p, pos, changed)
    announce(m, changed)
    return {'ok'}
  end
  local had = r and (r.state == 'R' or r.state == 'D' or r.state == 'C') and r
  local bought = outcome == 'P' and count_tickets(tickets) or 0
  local was_sold = r and r.state == 'P'
  if was_sold then bought = bought - count_tickets(r.tickets) end
  local live, owned, _, line = get_user(p, r and r.user or args[9])
  bought = math.max(bought, -owned)
  if r and r.tickets ~= tickets then
    -- Promised after Redis had forgotten those that were bought.
    unlock(p, pos, r.tickets)
  end
  -- Who was told that the card was declined is not told anything else.
  local state = outcome == 'X' and r and r.state == 'D' and 'd' or outcome
  r = {state = state, try = tonumber(args[4]), deadline = r and r.deadline or 0, amount = args[5],
       tickets = tickets, reason = args[8], user = r and r.user or args[9],
       place = r and r.place ~= '' and r.place or args[11]}
  leave_line(m, p, pos, live == tonumber(pos) and line or '')
  put_record(p, pos, r)
  if outcome == 'D' then
    -- The hold goes on until its deadline: the next tick ends it if that has passed.
    redis.call('ZADD', p .. 'x', string.format('%.0f', r.deadline), pos)
    for t in each_ticket(tickets) do
      redis.call('SET', p .. 'l:' .. t, pos, 'NX')
      local clock, stands = event_ms(m)
      if not stands and redis.call('GET', p .. 'l:' .. t) == pos then
        redis.call('PEXPIRE', p .. 'l:' .. t, string.format('%.0f', math.max(0, r.deadline - clock)))
      end
    end
  else
    redis.call('ZREM', p .. 'x', pos)
    unlock(p, pos, tickets)
    let_user_go(p, r.user, pos, bought, state == 'L' or state == 'X' or state == 'd')
    if had and outcome ~= 'P' then tell_end(m, pos, had, state == 'L' and 'cancelled' or 'expired') end
    if outcome == 'P' then
      mark(p, tickets, 1)
      set_sold(p, tickets, '1')
      redis.call('RPUSH', p .. 'f', 's' .. tickets)
    elseif free ~= '' then
      mark(p, free, 0)
      set_sold(p, free, '0')
      -- What it has as sold the owner takes back from nobody's word: it reads anew.
      redis.call('RPUSH', p .. 'f', (was_sold and 'l' or 'r') .. free)
    end
  end
  redis.call('HINCRBY', m, 'version', 1)
  wake_owner(m)
  local changed = {pos}
  set_apart(m, p, pos, changed)
  announce(m, changed)
  return {'ok'}
end

-- KEYS m; ARGV ticket, position, free (1/0)
local function drop_lock(keys, args)
  local p = prefix(keys[1])
  if redis.call('GET', p .. 'l:' .. args[1]) ~= args[2] then return {'moved'} end
  redis.call('DEL', p .. 'l:' .. args[1])
  if args[3] == '1' then
    redis.call('SETBIT', p .. 'b', args[1], 0)
    redis.call('RPUSH', p .. 'f', 'r' .. args[1])
    wake_owner(keys[1])
  end
  return {'ok'}
end

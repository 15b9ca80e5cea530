-- Payments that were given up and are authorised after all: the owner of the seats says whether their buyers get them.

-- Why a payment that came late buys nothing.
local TOO_LATE = 'too_late'

-- How many attempts later a payment that was given up is taken up: the next one has the seats of the one before, the one
-- after next has others. Workers of the version before take up nothing but the next one: what is decided about other seats
-- they let go of, and do not sell the seats with it that PostgreSQL has still.
local SAME_SEATS, OTHER_SEATS = 1, 2

-- Puts a payment under way again, as another attempt, so that nobody takes the end of the one before for its own: its
-- tickets are nobody else's until it has ended.
local function pay_late(m, pos, r, payment, method, user, later)
  local p = prefix(m)
  for t in each_ticket(r.tickets) do redis.call('SET', p .. 'l:' .. t, pos) end
  mark(p, r.tickets, 1)
  local _, owned, left, _, refused = get_user(p, r.user)
  -- A hold that had ended counted as a place that was given up.
  if r.state == 'd' then left = math.max(0, left - 1) end
  put_user(p, r.user, tonumber(pos), owned, left, '', refused)
  local place = pos .. ' ' .. redis.call('HGET', m, 'generation')
  local agreed = has_agreed(p, r, place)
  r.state, r.try, r.reason = 'C', r.try + later, ''
  if agreed then remember_agreement(p, r, place) end
  put_record(p, pos, r)
  redis.call('ZADD', p .. 'x', '+inf', pos)
  add_confirmation(m, pos, r, method, user, '', payment)
  wake_confirm(m)
end

local function refuse_late(p, pos, r)
  r.reason = TOO_LATE
  put_record(p, pos, r)
end

-- The request whose attempt to pay came to nothing, if its buyer has begun nothing else since.
local function given_up(p, pos, try)
  local r = get_record(p, pos)
  if not r or r.try ~= try or r.state ~= 'd' and r.state ~= 'D' then return nil end
  local live = get_user(p, r.user)
  return (live == 0 or live == tonumber(pos)) and r or nil
end

-- KEYS m; ARGV position, try, generation, payment, its method, user. An attempt that was given up is authorised after all.
-- Who has their hold still has paid for it. Of others the owner decides, once nobody in line is left who could have the
-- seats. `ok` while that is under way, `refused` where it was decided, `moved` where the buyer has gone on.
local function offer_late(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local pos, try = args[1], tonumber(args[2])
  if not is_generation(m, args[3]) then return {'missing'} end
  local v = redis.call('HMGET', m, 'state', 'stopped')
  local r = get_record(p, pos)
  if r and r.try > try and (r.state == 'C' or r.state == 'P') then return {'ok'} end
  r = given_up(p, pos, try)
  if not r or r.reason == TOO_LATE then
    redis.call('HDEL', p .. 'late', pos)
    return {r and 'refused' or 'moved'}
  end
  if r.state == 'D' and v[2] ~= '2' and event_ms(m) < r.deadline then
    pay_late(m, pos, r, args[4], args[5], args[6], SAME_SEATS)
    announce(m, {pos})
  elseif r.state == 'd' and (v[1] == 'closed' or v[2] == '2') then
    redis.call('HDEL', p .. 'late', pos)
    refuse_late(p, pos, r)
    announce(m, {pos})
    return {'refused'}
  elseif r.state == 'd' and (redis.call('HEXISTS', p .. 'late', pos) == 1 or redis.call('HLEN', p .. 'late') < MAX_LATE) then
    redis.call('HSET', p .. 'late', pos, table.concat({args[2], args[4], args[5], args[6]}, '|'))
    wake_owner(m)
  end
  return {'ok'}
end

-- KEYS m; ARGV position, try, generation, whether its buyer is told that it came too late (1/0). The payment of an attempt
-- that was given up is let go of: its owner is not asked any more.
local function drop_late(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local pos, try = args[1], tonumber(args[2])
  if not is_generation(m, args[3]) then return {'missing'} end
  local waiting = redis.call('HGET', p .. 'late', pos)
  -- One of a later attempt is another payment's.
  if waiting and (tonumber(string.match(waiting, '^%d+')) or 0) <= try then redis.call('HDEL', p .. 'late', pos) end
  local r = args[4] == '1' and given_up(p, pos, try)
  if r and r.state == 'd' and r.reason ~= TOO_LATE then
    refuse_late(p, pos, r)
    announce(m, {pos})
  end
  return {'ok'}
end

-- KEYS m; ARGV fence, then of each its position, and what is decided: `1`, its seats are its buyer's; `t<try>:<tickets>`,
-- these are in their place, with the attempt that was given up; `0`, none are; `m`, PostgreSQL has gone on since, and
-- whoever did that tells of it. The positions that are not paid for after all, since their buyers have gone on, or somebody
-- has a seat of theirs.
local function settle_late(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  if is_barred(m) then return {'conflict'} end
  local changed, skipped = {}, {}
  for i = 2, #args, 2 do
    local pos = args[i]
    local text = redis.call('HGET', p .. 'late', pos) or ''
    local try, payment, method, user = string.match(text, '^(%d+)|([^|]*)|([^|]*)|(.*)$')
    redis.call('HDEL', p .. 'late', pos)
    local r = try and given_up(p, pos, tonumber(try))
    if r and r.state ~= 'd' then r = nil end
    local decision = args[i + 1]
    local given_for, given = string.match(decision, '^t(%d+):([%d,]+)$')
    local is_free = decision == '1' or given_for == try
    local tickets = given or r and r.tickets or ''
    for t in each_ticket(tickets) do
      if redis.call('EXISTS', p .. 'l:' .. t) == 1 then is_free = false end
    end
    if r and is_free then
      r.tickets = tickets
      pay_late(m, pos, r, payment, method, user, given and OTHER_SEATS or SAME_SEATS)
    else
      if r and decision ~= 'm' then refuse_late(p, pos, r) end
      skipped[#skipped + 1] = pos
    end
    changed[#changed + 1] = pos
  end
  redis.call('HINCRBY', m, 'version', 1)
  announce(m, changed)
  return {'ok', table.concat(skipped, ',')}
end


-- Leases, consumers, and who writes to the search index.

-- KEYS lease; ARGV worker, ttl ms. 1 when the worker holds the lease afterwards.
local function lease(keys, args)
  local holder = redis.call('GET', keys[1])
  if holder and holder ~= args[1] and redis.call('PTTL', keys[1]) <= LONGEST_LEASE_MS then return 0 end
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  return 1
end

-- KEYS lease; ARGV worker
local function release_lease(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  redis.call('DEL', keys[1])
  redis.call('PUBLISH', partition(keys[1]) .. 'w', 'lease')
  return 1
end

-- KEYS epoch; ARGV epoch. An older one never replaces a newer one.
local function own(keys, args)
  local current = tonumber(redis.call('GET', keys[1]) or '0')
  if current > tonumber(args[1]) then return 0 end
  redis.call('SET', keys[1], args[1])
  return 1
end

-- KEYS stream of confirmations; ARGV ms. Forgets consumers that have nothing pending and were silent for so long. In
-- one call: with a consumer goes what is pending, and one that is alive may take something at any moment.
local function forget_consumers(keys, args)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], 'workers')) do
    local c = {}
    for i = 1, #consumer, 2 do c[consumer[i]] = consumer[i + 1] end
    if c.pending == 0 and c.idle >= tonumber(args[1]) then
      redis.call('XGROUP', 'DELCONSUMER', keys[1], 'workers', c.name)
    end
  end
  return {'ok'}
end

-- KEYS workers; ARGV worker, ttl ms. The names of all that are alive.
local function announce_worker(keys, args)
  local now = server_ms()
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', string.format('%.0f', now))
  redis.call('ZREMRANGEBYSCORE', keys[1], string.format('(%.0f', now + LONGEST_LEASE_MS), '+inf')
  redis.call('ZADD', keys[1], string.format('%.0f', now + tonumber(args[2])), args[1])
  return redis.call('ZRANGE', keys[1], 0, -1)
end

-- KEYS m; ARGV user key and tickets owned, in turn. What buyers own already of an event whose queue is about to be
-- made anew.
local function remember(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 then return {'exists'} end
  local p = prefix(keys[1])
  for i = 1, #args, 2 do put_user(p, args[i], 0, tonumber(args[i + 1]), 0, '', 0) end
  return {'ok'}
end

-- KEYS claim; ARGV token, what was written, ms until the next write. 0 when the claim is another's by now.
local function end_refresh(keys, args)
  local value = redis.call('GET', keys[1])
  if value and value ~= args[1] then return 0 end
  redis.call('SET', keys[1], args[2], 'PX', args[3])
  return 1
end

-- KEYS confirmations. The entry that is next to be taken, if there is one: its id, and for how many ms it has waited,
-- which may be less than nothing after a clock went back.
local function next_confirmation(keys)
  local last = '0-0'
  local groups = redis.call('EXISTS', keys[1]) == 1 and redis.call('XINFO', 'GROUPS', keys[1]) or {}
  for _, group in ipairs(groups) do
    local of = {}
    for i = 1, #group, 2 do of[group[i]] = group[i + 1] end
    if of.name == 'workers' then last = of['last-delivered-id'] end
  end
  local entry = redis.call('XRANGE', keys[1], '(' .. last, '+', 'COUNT', 1)[1]
  return entry and {entry[1], server_ms() - tonumber(string.match(entry[1], '^%d+'))} or false
end

-- A lock lasts as long as the hold that it is for: without an end while the event's clock stands still.
local function renew_lock(lock, pos, deadline, clock, stands)
  local holder = redis.call('GET', lock)
  if holder and holder ~= pos then return end
  if stands then
    redis.call('SET', lock, pos)
  elseif deadline > clock then
    redis.call('SET', lock, pos, 'PX', string.format('%.0f', deadline - clock))
  end
end

-- Holds whose locks one call renews, about: some milliseconds.
local RENEWED_AT_ONCE = 500

-- After the event's clock was stopped, or went on again: the locks of some holds, in the order of their deadlines, from
-- where the call before has left off. Whether there are more.
local function renew_some(m)
  local from = redis.call('HGET', m, 'locks_from')
  if not from then return false end
  local p = prefix(m)
  local clock, stands = event_ms(m)
  local holds = redis.call('ZRANGEBYSCORE', p .. 'x', from, '(+inf', 'WITHSCORES', 'LIMIT', 0, RENEWED_AT_ONCE)
  for i = 1, #holds, 2 do
    local r = get_record(p, holds[i])
    if r and (r.state == 'R' or r.state == 'D') then
      for t in each_ticket(r.tickets) do renew_lock(p .. 'l:' .. t, holds[i], r.deadline, clock, stands) end
    end
  end
  if #holds < 2 * RENEWED_AT_ONCE then
    redis.call('HDEL', m, 'locks_from')
    return false
  end
  -- Of those that end together some may be left: they are looked at again, unless they are all that there were.
  local last = holds[#holds]
  redis.call('HSET', m, 'locks_from', last == from and '(' .. last or last)
  return true
end

-- Events that one call looks at, about.
local EVENTS_AT_ONCE = 500

-- KEYS events of a partition; ARGV cursor, at most so many tickets, what the caller takes the time to be or ''. Ends
-- holds of all events whose time is over, whether or not anybody owns the partition: an owner learns of it from `f`.
-- Returns the time, and where to go on: '0' when all were looked at. Ends nothing while the clock has stepped.
local function end_holds_of(keys, args)
  local now, expected, left = now_ms(keys[1]), tonumber(args[3]), tonumber(args[2])
  if expected and math.abs(now - expected) > STEP_MS then return {'stepped', now} end
  local page = redis.call('SSCAN', keys[1], args[1], 'COUNT', EVENTS_AT_ONCE)
  for _, id in ipairs(page[2]) do
    local m = partition(keys[1]) .. id .. ':m'
    local released, count = end_holds(m, now, left)
    for _, tickets in ipairs(released) do redis.call('RPUSH', prefix(m) .. 'f', 'r' .. tickets) end
    if #released > 0 then wake_owner(m) end
    if renew_some(m) then left = 0 end
    left = left - count
    if left <= 0 then return {'more', now, args[1]} end
  end
  return {'ok', now, page[1]}
end

-- Entries of the confirmation stream that are looked at after a clock went back: more than workers have under way.
local PENDING_AT_ONCE = 10000

-- Since when a worker has had an entry is by Redis's clock too: of one that went back it would be long before others
-- take over what a dead worker has.
local function renew_pending(stream)
  if redis.call('EXISTS', stream) == 0 or #redis.call('XINFO', 'GROUPS', stream) == 0 then return end
  for _, entry in ipairs(redis.call('XPENDING', stream, 'workers', '-', '+', PENDING_AT_ONCE)) do
    -- Said of one that is in the future, too.
    if entry[3] == 0 then
      redis.call('XCLAIM', stream, 'workers', entry[2], 0, entry[1], 'IDLE', 0, 'RETRYCOUNT', entry[4], 'JUSTID')
    end
  end
end

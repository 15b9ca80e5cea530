-- A sale that is over, or a line that is lost.

-- KEYS m; ARGV epoch. The head document, once the sale is over for good: nothing of it changes any more.
local function archivable(keys, args)
  local m = keys[1]
  if not is_owner(m, args[1]) then return {'stale'} end
  local v = redis.call('HMGET', m, unpack(FIELDS))
  if not v[1] then return {'missing'} end
  if v[2] ~= 'closed' or redis.call('ZCARD', prefix(m) .. 'x') > 0 then return {'busy'} end
  for i = 1, #FIELDS do v[i] = v[i] or '' end
  return {'ok', unpack(v)}
end

-- Holds that one call lets go of, and about how many tickets of theirs: some milliseconds.
local HOLDS_AT_ONCE = 100
local LOCKS_AT_ONCE = 500

-- Of a line that is lost: deletes the locks of some holds, earliest deadline first. Returns whether there are more.
local function let_go_of_holds(p)
  local gone, locks, holders = {}, {}, {}
  for i, pos in ipairs(redis.call('ZRANGE', p .. 'x', 0, HOLDS_AT_ONCE - 1)) do
    if #locks >= LOCKS_AT_ONCE then break end
    gone[i] = pos
    local r = get_record(p, pos)
    if r then
      for t in each_ticket(r.tickets) do
        locks[#locks + 1] = p .. 'l:' .. t
        holders[#locks] = pos
      end
    end
  end
  delete_own(locks, holders)
  if #gone > 0 then redis.call('ZREM', p .. 'x', unpack(gone)) end
  return redis.call('EXISTS', p .. 'x') == 1
end

-- KEYS m; ARGV generation, fence of the owner or ''. Redis came back with an older state of this queue: positions that
-- were given out would be given out again. It ends here; its owner removes it, and a new one begins. What is under
-- payment stays claimed. An owner compares what it loaded with what was sold since, and may have been replaced
-- between the two by one that sold.
-- The first call tells everybody. That one, and each that follows, lets go of some of its seats, and says whether there
-- are more: its owner goes on before it removes what is left.
local function mark_lost(keys, args)
  local m = keys[1]
  if (args[2] or '') ~= '' and not is_owner(m, args[2]) then return {'stale'} end
  local v = redis.call('HMGET', m, 'generation', 'state')
  if v[1] ~= args[1] then return {'moved'} end
  local p = prefix(m)
  if v[2] ~= 'lost' then
    redis.call('HSET', m, 'state', 'lost')
    clear_lines(m)
    redis.call('UNLINK', p .. 'w', p .. 'h', p .. 'hl', p .. 'late')
    redis.call('HINCRBY', m, 'version', 1)
    wake_owner(m)
    announce(m, {})
  end
  return {'ok', let_go_of_holds(p) and 1 or 0}
end

local function is_removable(m, epoch, generation)
  local v = redis.call('HMGET', m, 'generation', 'state')
  return is_owner(m, epoch) and v[1] == generation
    and (v[2] == 'lost' or v[2] == 'closed' and redis.call('ZCARD', prefix(m) .. 'x') == 0)
end

-- KEYS m; ARGV epoch, generation, names of the event's keys
local function remove(keys, args)
  if not is_removable(keys[1], args[1], args[2]) then return {'stale'} end
  local p = prefix(keys[1])
  -- An owner of the version before did not let go of all: no lock stays behind, however long that takes.
  while let_go_of_holds(p) do end
  for i = 3, #args do redis.call('UNLINK', p .. args[i]) end
  return {'ok'}
end

-- KEYS m; ARGV epoch, generation. The last step: what says that the queue is here goes, all at once.
local function leave(keys, args)
  local m = keys[1]
  if not is_removable(m, args[1], args[2]) then return {'stale'} end
  local p = prefix(m)
  -- What was sold is asked for in the next life of a line that is lost, too.
  if redis.call('HGET', m, 'state') == 'closed' then redis.call('UNLINK', p .. 'o') end
  clear_lines(m)
  redis.call('UNLINK', m, p .. 'b', p .. 'f', p .. 'x', p .. 'gone', p .. 'w', p .. 'k', p .. 'kn', p .. 'km', p .. 'away',
    p .. 'ended', p .. 'h', p .. 'hl', p .. 'late')
  redis.call('SREM', partition(m) .. 'events', event(m))
  redis.call('HDEL', partition(m) .. 'settings', event(m))
  return {'ok'}
end

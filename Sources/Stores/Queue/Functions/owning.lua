-- What the next owner of an event learns, and that the former one is none any more.

-- KEYS m; ARGV epoch, name of this load. What a new owner must know; forgets feedback older than this moment.
local function load(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  -- Of the version before, which finds nobody in lines that are split: whoever owns the event then is another.
  if redis.call('HGET', m, 'split') then return {'stale'} end
  redis.call('DEL', p .. 'f')
  local v = redis.call('HMGET', m, 'state', 'generation', 'head', 'tail', 'rate', 'sold_out', 'rejoined')
  if not v[1] then return {'missing'} end
  redis.call('HSET', m, 'load', args[2] or '')
  local held = {}
  for _, pos in ipairs(redis.call('ZRANGE', p .. 'x', 0, -1)) do
    local r = get_record(p, pos)
    if r and r.tickets ~= '' then held[#held + 1] = r.tickets end
  end
  return {'ok', v[1], v[2], v[3], v[4], v[5], v[6], table.concat(held, ','), v[7] or 0}
end

-- KEYS m; ARGV epoch, name of this load. What a new owner must know but for the holds, which it reads in steps: what
-- becomes of them from now on is in the feedback; the lines with somebody whom the head has passed, as number,
-- position, ordinal of the last one served.
local function take_over(keys, args)
  local m = keys[1]
  local p = prefix(m)
  if not is_owner(m, args[1]) then return {'stale'} end
  redis.call('UNLINK', p .. 'f')
  local v = redis.call('HMGET', m, 'state', 'generation', 'head', 'tail', 'rate', 'sold_out', 'rejoined', 'split')
  if not v[1] then return {'missing'} end
  redis.call('HSET', m, 'load', args[2])
  local lagging, marks = {}, redis.call('HGETALL', p .. 'km')
  for i = 1, #marks, 2 do
    local position, ordinal = string.match(marks[i + 1], '^%d*:(%d+):(%d+):')
    if position then
      append(lagging, marks[i], position)
      append(lagging, ordinal)
    end
  end
  return {'ok', v[1], v[2], v[3], v[4], v[5], v[6], v[7] or 0, v[8] or '', lagging}
end

-- After a load the versions go on beyond those that Redis may have lost, of which the search index has seen some: it
-- takes nothing that is older than what it has. More than any replica lags behind, for each load that may be lost as
-- well; they last for 12,000 loads at least.
local LOST_VERSIONS = 10000
local MAX_LOST_LOADS = 16

-- How many loads there were since the one that this queue knows of, as far as their epochs and numbers tell.
local function loads_since(m, fence)
  local epoch, load = string.match(fence, '^(%d+):?(%d*)')
  local known_epoch, known_load = string.match(redis.call('HGET', m, 'mapped') or '', '^(%d+):?(%d*)')
  redis.call('HSET', m, 'mapped', fence)
  local loads = 1
  if known_epoch == epoch then
    loads = (tonumber(load) or 0) - (tonumber(known_load) or 0)
  elseif known_epoch then
    loads = tonumber(epoch) - tonumber(known_epoch)
  end
  return math.max(1, math.min(loads, MAX_LOST_LOADS))
end

-- KEYS m; ARGV fence, bitmap, free, held, sold, reopened (1/0), version of the tickets
local function publish_map(keys, args)
  local m = keys[1]
  if not is_owner(m, args[1]) then return {'stale'} end
  redis.call('SET', prefix(m) .. 'b', args[2])
  redis.call('HSET', m, 'free', args[3], 'held', args[4], 'sold', args[5], 'map', args[7] or '0')
  if args[6] == '1' then
    local tail = redis.call('HGET', m, 'tail')
    redis.call('HSET', m, 'sold_out', '0', 'decided_up_to', tail, 'reopened_up_to', tail)
  end
  redis.call('HINCRBY', m, 'version', LOST_VERSIONS * loads_since(m, args[1]))
  announce(m, {})
  return {'ok'}
end

-- Steps of Redis's clock.

-- A step is noticed by the next tick, so what was granted in the last second may have a deadline of the stepped clock.
local UNNOTICED_MS = 1000

-- KEYS events of a partition; ARGV epoch, ms by which the partition's clock is to be put forward, the clock as it was
-- seen. Redis's clock has stepped the other way: what runs out goes on as if it had not.
local function set_clock(keys, args)
  local p = partition(keys[1])
  if redis.call('GET', p .. 'epoch') ~= args[1] then return {'stale'} end
  local now, delta = now_ms(keys[1]), tonumber(args[2])
  if math.abs(now - tonumber(args[3])) > STEP_MS then return {'moved', now} end
  local ahead = tonumber(redis.call('GET', p .. 'clock') or '0') + delta
  if math.abs(ahead) < STEP_MS then
    redis.call('DEL', p .. 'clock')
  else
    redis.call('SET', p .. 'clock', string.format('%.0f', ahead))
  end
  for _, id in ipairs(redis.call('SMEMBERS', keys[1])) do
    local e = p .. id .. ':'
    local hold = tonumber(redis.call('HGET', e .. 'm', 'hold_ms') or '0')
    local clock, since = event_ms(e .. 'm', now)
    if since and tonumber(since) > now - UNNOTICED_MS then
      redis.call('HSET', e .. 'm', 'stands_since', string.format('%.0f', tonumber(since) + delta))
    end
    local from, to = clock + hold - UNNOTICED_MS, clock + hold
    for _, pos in ipairs(redis.call('ZRANGEBYSCORE', e .. 'x', string.format('%.0f', from), string.format('%.0f', to))) do
      local r = get_record(e, pos)
      if r then
        r.deadline = r.deadline + delta
        put_record(e, pos, r)
        redis.call('ZADD', e .. 'x', string.format('%.0f', r.deadline), pos)
      end
    end
  end
  renew_pending(p .. 'c')
  return {'ok', now_ms(keys[1])}
end

-- KEYS m; ARGV rank of the first hold, at most so many. Gives the locks of holds the time that is left of these, after
-- the clock has stepped. Returns how many holds there were.
local function renew_locks(keys, args)
  local m = keys[1]
  local p = prefix(m)
  local first = tonumber(args[1])
  local clock, stands = event_ms(m)
  local holds = redis.call('ZRANGE', p .. 'x', first, first + tonumber(args[2]) - 1, 'WITHSCORES')
  for i = 1, #holds, 2 do
    local r = get_record(p, holds[i])
    if r and (r.state == 'R' or r.state == 'D') then
      for t in each_ticket(r.tickets) do renew_lock(p .. 'l:' .. t, holds[i], r.deadline, clock, stands) end
    end
  end
  return {'ok', #holds / 2}
end
